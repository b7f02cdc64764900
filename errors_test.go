package lmipool_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool"
)

func TestWhatOpenRefusesIsForSomebodyToMend(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		vars   map[string]string
		dsn    string
		config *lmipool.Config
	}{
		{vars: managed("64")}, // no database
		{dsn: "postgres://u@h:port/db"},
		{dsn: dsn, vars: map[string]string{"LMIPOOL_MAX_CONNS": "many"}},
		{dsn: dsn, config: &lmipool.Config{Margin: -1}},
		{dsn: dsn, config: &lmipool.Config{MaxConns: -1}},
	} {
		_, err := lmipool.OpenIn(t.Context(), c.vars, c.dsn, c.config)
		require.Error(t, err)
		assert.True(t, lmipool.Misconfigured(err), "%v", err)
		assert.False(t, lmipool.Retryable(err) || lmipool.OutcomeUnknown(err), "%v", err)
	}
}

// Each way to name the host is found, also with Plain, and the error has no password.
func TestOpenRefusesAuroraDSQL(t *testing.T) {
	t.Parallel()
	const (
		host   = "foo0bar1.dsql.eu-west-1.on.aws"
		secret = "s3cret"
	)
	for _, dsn := range []string{
		"postgres://admin:" + secret + "@" + host + "/postgres",
		"postgres://admin:" + secret + "@FOO0BAR1.dsql.eu-west-1.on.aws./postgres?sslmode=verify-full",
		"host=db.internal," + host + " user=admin password=" + secret,
	} {
		for _, config := range []*lmipool.Config{nil, {Plain: lmipool.On}} {
			_, err := lmipool.OpenIn(t.Context(), nil, dsn, config)
			require.Error(t, err, dsn)
			assert.True(t, lmipool.Misconfigured(err), "%v", err)
			assert.Regexp(t, "(?i)host foo0bar1.dsql.eu-west-1.on.aws.? is Aurora DSQL, which lmipool does not support: .* want a PostgreSQL server, RDS or Aurora PostgreSQL", err.Error())
			assert.NotContains(t, err.Error(), secret)
		}
	}
	_, err := lmipool.OpenIn(t.Context(), map[string]string{"DATABASE_URL": "postgres://admin@" + host + "/postgres"}, "", nil)
	assert.ErrorContains(t, err, host)
	cfg, err := pgxpool.ParseConfig("postgres://admin@127.0.0.1/postgres")
	require.NoError(t, err)
	cfg.ConnConfig.Host = host
	_, err = lmipool.OpenConfig(t.Context(), cfg, nil)
	assert.True(t, lmipool.Misconfigured(err), "%v", err)
	db, err := lmipool.OpenIn(t.Context(), nil, "postgres://app@dsql.internal/postgres", nil) // any other name
	require.NoError(t, err)
	db.Close()
}

func TestWhatToDoAboutAHandlersError(t *testing.T) {
	t.Parallel()
	assert.True(t, lmipool.OutcomeUnknown(&lmipool.OverrunError{}), "the handler runs on")
	assert.True(t, lmipool.OutcomeUnknown(&lmipool.StreamCutError{}), "whatever it had written by then")
	for _, err := range []error{&lmipool.GoexitError{}, errors.New("the handler's own"), nil} {
		assert.False(t, lmipool.OutcomeUnknown(err) || lmipool.Retryable(err) || lmipool.Misconfigured(err), "%v", err)
	}
	db := openManaged(t, &logged{}, lmipool.Config{})
	lmipool.Terminate(db)
	_, err := lmipool.Handler(db, func(context.Context, int) (int, error) { return 1, nil })(bounded(t), 1)
	require.ErrorContains(t, err, "shutting down")
	assert.True(t, lmipool.Retryable(err), "it was not begun")
}

func ExampleRetryable() {
	var db *lmipool.Pool // from Open
	receive := func(ctx context.Context, order int) error {
		_, err := db.Exec(ctx, "insert into orders values ($1)", order)
		switch {
		case err == nil:
			return nil
		case lmipool.Retryable(err): // nothing has happened: have the queue deliver it again
			return err
		case lmipool.OutcomeUnknown(err): // it may be there already: look, and then deliver it again
			return fmt.Errorf("order %d may be there: %w", order, err)
		case lmipool.Misconfigured(err): // no retry will help until somebody has changed something
			return fmt.Errorf("call somebody: %w", err)
		}
		return nil // no retry will help at all: the order is wrong, or this code is
	}
	_ = receive
	// Output:
}

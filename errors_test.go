package lmipool_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

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

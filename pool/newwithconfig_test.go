package pool_test

import (
	"context"
	"errors"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// A variable that pgx cannot read, and that the connection string overrides, changes nothing: a cancelled statement keeps its connection.
func TestNewCancelsWhateverTheEnvironmentSays(t *testing.T) {
	dsn := pgtest.Database(t)
	t.Setenv("PGPORT", "none")
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1, CancelWait: 10 * time.Second})
	ctx, cancel := context.WithTimeout(bounded(t), 50*time.Millisecond)
	defer cancel()
	_, err := p.Exec(ctx, "select pg_sleep(60)")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, p.Ping(bounded(t)))
	assert.Positive(t, p.Stat().Cancels().Requests)
	assert.EqualValues(t, 1, p.Stat().NewConnsCount())
}

// What the user has put into pgxpool's Config is used: who dials, also to a host of AWS, and what the end of a ctx does.
func TestNewWithConfigKeepsTheUsersDialerAndHandler(t *testing.T) {
	t.Parallel()
	mine := errors.New("the user's own dialer")
	px, err := pgxpool.ParseConfig("postgres://app@db.abc.eu-west-1.rds.amazonaws.com/app?sslmode=disable")
	require.NoError(t, err)
	px.ConnConfig.LookupFunc = func(context.Context, string) ([]string, error) { return []string{"127.0.0.1"}, nil }
	for _, dial := range []pgconn.DialFunc{
		func(context.Context, string, string) (net.Conn, error) { return nil, mine },
		(&net.Dialer{Control: func(string, string, syscall.RawConn) error { return mine }}).DialContext, // the code of pgx's default
	} {
		px.ConnConfig.DialFunc = dial
		p, err := pool.NewWithConfig(t.Context(), px, nil)
		require.NoError(t, err)
		t.Cleanup(p.Close)
		require.ErrorIs(t, p.Ping(bounded(t)), mine)
	}

	px, err = pgxpool.ParseConfig(pgtest.Database(t))
	require.NoError(t, err)
	built := make(chan struct{}, 10)
	px.ConnConfig.BuildContextWatcherHandler = func(pc *pgconn.PgConn) ctxwatch.Handler {
		built <- struct{}{}
		return &pgconn.DeadlineContextWatcherHandler{Conn: pc.Conn()}
	}
	connected := make(chan struct{}, 10)
	px.AfterConnect = func(context.Context, *pgx.Conn) error { connected <- struct{}{}; return nil }
	p, err := pool.NewWithConfig(t.Context(), px, &pool.Config{MaxConns: 1})
	require.NoError(t, err)
	t.Cleanup(p.Close)
	require.NoError(t, p.Ping(bounded(t)), "the dial has its own time")
	ctx, cancel := context.WithTimeout(bounded(t), 50*time.Millisecond)
	defer cancel()
	_, err = p.Exec(ctx, "select pg_sleep(60)")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.NotEmpty(t, built)
	assert.NotEmpty(t, connected)
	eventually(t, "the user's handler has cost the connection, which ours would have kept", func() bool { return p.Stat().TotalConns() == 0 })
}

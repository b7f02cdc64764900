package pool_test

import (
	"bytes"
	"context"
	"net"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// choking is a connection that cannot send what has "choke" in it, as often as left says.
type choking struct {
	net.Conn
	left *atomic.Int64
}

func (c choking) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("choke")) && c.left.Add(-1) >= 0 {
		return 0, &net.OpError{Op: "write", Err: syscall.EPIPE}
	}
	return c.Conn.Write(b)
}

// newChoking is a pool of one connection, on which choke is prepared.
func newChoking(t *testing.T) (p *pool.Pool, left *atomic.Int64) {
	t.Helper()
	left = new(atomic.Int64)
	p = newPoolAt(t, pgtest.Database(t), &pool.Config{MaxConns: 1, Logger: (&logs{}).logger(), BeforeConnect: wrapped(func(nc *net.TCPConn) net.Conn {
		return choking{nc, left}
	})})
	for _, do := range chokes {
		require.NoError(t, do(bounded(t), p))
	}
	return p, left
}

// chokes are the ways to say it that run again if it could not be sent.
var chokes = map[string]func(context.Context, *pool.Pool) error{
	"Exec":            execChoke("choke"),
	"Exec unprepared": execChoke(pgx.QueryExecModeExec, "choke"), // only its answer fails
	"QueryRow": func(ctx context.Context, p *pool.Pool) error {
		return p.QueryRow(ctx, "select $1::text as choke", "choke").Scan(new(string))
	},
}

func execChoke(args ...any) func(context.Context, *pool.Pool) error {
	return func(ctx context.Context, p *pool.Pool) error {
		_, err := p.Exec(ctx, "select $1::text as choke", args...)
		return err
	}
}

// handedOut are the ways of which the caller has something in his hands by then.
var handedOut = map[string]func(context.Context, *pool.Pool) error{
	"Query":            queryChoke("choke"),
	"Query unprepared": queryChoke(pgx.QueryExecModeExec, "choke"),
	"SendBatch": func(ctx context.Context, p *pool.Pool) error {
		b := &pgx.Batch{}
		b.Queue("select $1::text as choke", "choke")
		return p.SendBatch(ctx, b).Close()
	},
}

func queryChoke(args ...any) func(context.Context, *pool.Pool) error {
	return func(ctx context.Context, p *pool.Pool) error {
		rows, err := p.Query(ctx, "select $1::text as choke", args...)
		if err != nil {
			return err
		}
		for rows.Next() {
		}
		return rows.Err()
	}
}

// What was handed out is not sent again: its error says that it can be.
func TestWhatWasHandedOutAndCouldNotBeSentIsRetryable(t *testing.T) {
	t.Parallel()
	for what, do := range handedOut {
		p, left := newChoking(t)
		left.Store(1)
		err := do(bounded(t), p)
		require.Error(t, err, what)
		assert.True(t, pool.Retryable(err), "%s: %v", what, err)
		assert.Zero(t, left.Load(), what)
		assert.NoError(t, do(bounded(t), p), what)
	}
}

func TestWhatCouldNotBeSentThreeTimesIsSentTheFourth(t *testing.T) {
	t.Parallel()
	for what, do := range chokes {
		p, left := newChoking(t)
		left.Store(3)
		assert.NoError(t, do(bounded(t), p), what)
		assert.Negative(t, left.Load(), what)
	}
}

// A connection that is dead is nobody's place while its caller waits to try again.
func TestWhoWaitsToTryAgainHoldsNoConnection(t *testing.T) {
	t.Parallel()
	for what, do := range chokes {
		p, left := newChoking(t)
		left.Store(1 << 40)
		ctx, cancel := context.WithCancel(bounded(t)) // with a deadline it does not give up sooner
		done := make(chan error, 1)
		go func() { done <- do(ctx, p) }()
		eventually(t, what+": it waits, and there is no connection", func() bool {
			s := p.Stat()
			return left.Load() < 1<<40-3 && s.TotalConns() == 0 && s.ConstructingConns() == 0
		})
		cancel()
		require.Error(t, ends(t, what, done))
	}
}

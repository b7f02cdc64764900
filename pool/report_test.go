package pool_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/pool"
)

// A statement that keeps the only connection is told by its place in the code, too, with what the pool's functions around it are left out.
func TestWhoRunsAStatementIsTold(t *testing.T) {
	t.Parallel()
	for name, run := range map[string]func(context.Context, *pool.Pool) error{
		"Exec": func(ctx context.Context, p *pool.Pool) error {
			_, err := p.Exec(ctx, "select pg_sleep($1::float8)", 20)
			return err
		},
		"QueryRow": func(ctx context.Context, p *pool.Pool) error {
			return p.QueryRow(ctx, "select pg_sleep($1::float8)::text", 20).Scan(new(string))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, p := bounded(t), newPool(t, &pool.Config{MaxConns: 1, Logger: (&logs{}).logger()})
			slow, stop := context.WithCancel(ctx)
			done := make(chan struct{})
			go func() {
				defer close(done)
				_ = run(slow, p)
			}()
			eventually(t, "it runs", func() bool { return p.Stat().AcquiredConns() == 1 })
			var e *pool.AcquireError
			eventually(t, "it is told", func() bool {
				short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
				defer cancel()
				_, err := p.Acquire(short)
				return assert.ErrorAs(t, err, &e) && e.Longest != nil && len(e.Longest.Stack) > 0
			})
			assert.Contains(t, e.Longest.Stack[0], "report_test.go")
			assert.Contains(t, e.Longest.Stack[0], "TestWhoRunsAStatementIsTold")
			assert.Contains(t, e.Error(), "report_test.go")
			stop()
			<-done
		})
	}
}

// An invocation that waits while it holds a connection is a warning with both places, once for each.
func TestAnInvocationThatWaitsWhileItHoldsIsReported(t *testing.T) {
	t.Parallel()
	ctx, log := bounded(t), &logs{}
	p := newPool(t, &pool.Config{MaxConns: 1, Logger: log.logger()})
	for range 3 {
		inv, scope := p.OpenScope(ctx, "r-1", time.Time{})
		rows, err := p.Query(inv, "select generate_series(1, 3)")
		require.NoError(t, err)
		require.True(t, rows.Next())
		short, cancel := context.WithTimeout(inv, 20*time.Millisecond)
		_, err = p.Exec(short, "update nothing set a = 1") // goes alone
		require.ErrorIs(t, err, context.DeadlineExceeded)
		cancel()
		rows.Close()
		scope.End()
	}
	lines := log.with("waited for a connection while it held another")
	require.Len(t, lines, 1)
	assert.Regexp(t, `requestId=r-1 held_ms=\S+ doing=select generate_series\S.* acquired_at=\[\S+report_test\.go.* waited_ms=\S+ waited_at=\[\S+report_test\.go\S+ \S+ThatWaitsWhileItHolds.* count=1$`, lines[0])
}

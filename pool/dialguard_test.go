package pool_test

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// dialWatcher traces all that there is, and panics at a dial when it is told to.
type dialWatcher struct {
	start, end *atomic.Bool
	mu         sync.Mutex
	seen       map[string]int
}

type dialTraced struct{}

func (w *dialWatcher) note(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen[what]++
}

func (w *dialWatcher) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	w.note("query")
	return ctx
}
func (w *dialWatcher) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (w *dialWatcher) TraceConnectStart(ctx context.Context, d pgx.TraceConnectStartData) context.Context {
	if w.start.Load() {
		panic("boom")
	}
	w.note("dial of " + d.ConnConfig.Database[:1])
	return context.WithValue(ctx, dialTraced{}, true)
}

func (w *dialWatcher) TraceConnectEnd(ctx context.Context, d pgx.TraceConnectEndData) {
	if w.end.Load() {
		panic("boom")
	}
	if ctx.Value(dialTraced{}) != nil && d.Conn != nil {
		w.note("dialed")
	}
}

func (w *dialWatcher) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	w.note("batch")
	return ctx
}

func (w *dialWatcher) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {
	w.note("batch query")
}

func (w *dialWatcher) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {
	w.note("batch end")
}

func (w *dialWatcher) TraceCopyFromStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceCopyFromStartData) context.Context {
	w.note("copy to " + d.TableName.Sanitize())
	return ctx
}

func (w *dialWatcher) TraceCopyFromEnd(_ context.Context, _ *pgx.Conn, d pgx.TraceCopyFromEndData) {
	w.note("copied: " + d.CommandTag.String())
}

func (w *dialWatcher) TracePrepareStart(ctx context.Context, _ *pgx.Conn, _ pgx.TracePrepareStartData) context.Context {
	w.note("prepare")
	return ctx
}

func (w *dialWatcher) TracePrepareEnd(context.Context, *pgx.Conn, pgx.TracePrepareEndData) {
	w.note("prepared")
}

// What pgx calls of the user's while it dials runs in goroutines that nobody recovers. A panic there is an
// error of the dial, or nothing, and the pool goes on.
func TestAPanicWhileDialingEndsNothing(t *testing.T) {
	t.Parallel()
	type switches struct {
		dial, lookup, net, validate, after, notice, pgError, start, end atomic.Bool
	}
	for name, c := range map[string]struct {
		of   func(*switches) *atomic.Bool
		says string // "": the dial goes well
	}{
		"DialFunc":        {func(s *switches) *atomic.Bool { return &s.dial }, "DialFunc panicked: boom"},
		"LookupFunc":      {func(s *switches) *atomic.Bool { return &s.lookup }, "LookupFunc panicked: boom"},
		"AfterNetConnect": {func(s *switches) *atomic.Bool { return &s.net }, "AfterNetConnect panicked: boom"},
		"ValidateConnect": {func(s *switches) *atomic.Bool { return &s.validate }, "ValidateConnect panicked: boom"},
		"AfterConnect":    {func(s *switches) *atomic.Bool { return &s.after }, "AfterConnect panicked: boom"},
		"OnNotice":        {func(s *switches) *atomic.Bool { return &s.notice }, ""},
		"OnPgError":       {func(s *switches) *atomic.Bool { return &s.pgError }, "42883"},
		"the start":       {func(s *switches) *atomic.Bool { return &s.start }, ""},
		"the end":         {func(s *switches) *atomic.Bool { return &s.end }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &switches{}
			on := c.of(s)
			boom := func(b *atomic.Bool) {
				if b.Load() {
					panic("boom")
				}
			}
			w := &dialWatcher{start: &s.start, end: &s.end, seen: map[string]int{}}
			ctx := bounded(t)
			p := newPoolAt(t, pgtest.Database(t), &pool.Config{
				MaxConns: 1, Tracer: w, Logger: (&logs{}).logger(),
				BeforeConnect: func(_ context.Context, cc *pgx.ConnConfig) error {
					dial, lookup, validate, onError := cc.DialFunc, cc.LookupFunc, cc.ValidateConnect, cc.OnPgError
					cc.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
						boom(&s.dial)
						return dial(ctx, network, addr)
					}
					cc.LookupFunc = func(ctx context.Context, host string) ([]string, error) { boom(&s.lookup); return lookup(ctx, host) }
					cc.AfterNetConnect = func(_ context.Context, _ *pgconn.Config, nc net.Conn) (net.Conn, error) { boom(&s.net); return nc, nil }
					cc.ValidateConnect = func(ctx context.Context, c *pgconn.PgConn) error {
						boom(&s.validate)
						if validate == nil {
							return nil
						}
						return validate(ctx, c)
					}
					cc.Config.AfterConnect = func(context.Context, *pgconn.PgConn) error { boom(&s.after); return nil }
					cc.OnNotice = func(*pgconn.PgConn, *pgconn.Notice) { boom(&s.notice) }
					cc.OnPgError = func(c *pgconn.PgConn, e *pgconn.PgError) bool { boom(&s.pgError); return onError(c, e) }
					return nil
				},
				AfterConnect: func(ctx context.Context, c *pgx.Conn) error {
					if !on.Load() { // after a DO the connection would be closed instead of reset, and another dialed
						return nil
					}
					_, err := c.Exec(ctx, "do $$ begin raise notice 'hello'; end $$")
					if err == nil && s.pgError.Load() {
						_, err = c.Exec(ctx, "select nosuch()")
					}
					return err
				},
			})
			on.Store(true)
			_, err := p.Exec(ctx, "select 1")
			if c.says == "" {
				require.NoError(t, err)
				l, err := p.Acquire(ctx)
				require.NoError(t, err)
				require.NoError(t, l.Conn().Close(ctx))
				l.Release()
			} else {
				require.ErrorContains(t, err, c.says)
			}
			assert.Positive(t, p.Stat().PanicCount())
			on.Store(false)
			eventually(t, "the pool goes on", func() bool { _, err := p.Exec(ctx, "create table if not exists t (n int)"); return err == nil })

			// and the tracer sees what it always saw
			w.mu.Lock()
			clear(w.seen)
			w.mu.Unlock()
			_, err = p.Exec(ctx, "insert into t values ($1)", 1)
			require.NoError(t, err)
			_, err = p.CopyFrom(ctx, pgx.Identifier{"t"}, []string{"n"}, pgx.CopyFromRows([][]any{{1}, {2}}))
			require.NoError(t, err)
			b := &pgx.Batch{}
			b.Queue("select 1")
			require.NoError(t, p.SendBatch(ctx, b).Close())
			w.mu.Lock()
			defer w.mu.Unlock()
			assert.Equal(t, map[string]int{`copy to "t"`: 1, "copied: COPY 2": 1, "batch": 1, "batch query": 1, "batch end": 1, "query": 1, "prepare": 2, "prepared": 2}, w.seen)
		})
	}
}

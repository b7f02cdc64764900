package pool_test

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/pool"
)

func TestAFailedScanGivesTheConnectionBack(t *testing.T) {
	t.Parallel()
	ctx, p := bounded(t), newPool(t, &pool.Config{MaxConns: 1})
	for name, read := range map[string]func(pgx.Rows) error{
		"Scan":            func(r pgx.Rows) error { var n int; return r.Scan(&n) },
		"Scan of too few": func(r pgx.Rows) error { return r.Scan() },
	} {
		r, err := p.Query(ctx, "select 'x' from generate_series(1, 10)")
		require.NoError(t, err)
		require.True(t, r.Next())
		assert.Error(t, read(r), name)
		assert.Error(t, r.Err(), name)
		require.Zero(t, p.Stat().AcquiredConns(), name) // without Close
	}
}

func TestEndedRowsSayWhy(t *testing.T) {
	t.Parallel()
	ctx, p := bounded(t), newPool(t, &pool.Config{MaxConns: 1, Logger: (&logs{}).logger()})
	inv, scope := p.OpenScope(ctx, "", time.Time{})
	r, err := p.Query(inv, "select generate_series(1, 10)")
	require.NoError(t, err)
	require.True(t, r.Next())
	scope.End()
	for range 2 {
		var n int
		assert.False(t, r.Next())
		assert.ErrorIs(t, r.Scan(&n), pool.ErrInvocationEnded)
		_, err = r.Values()
		assert.ErrorIs(t, err, pool.ErrInvocationEnded)
		assert.Nil(t, r.RawValues())
		assert.Nil(t, r.TypeMap())
		assert.Empty(t, r.FieldDescriptions())
		assert.Empty(t, r.CommandTag().String())
		assert.ErrorIs(t, r.Err(), pool.ErrInvocationEnded)
		r.Close()
	}
	pid(t, p)
	assert.Zero(t, p.Stat().AcquiredConns())
}

func TestAForgottenBatchInATransactionKeepsItsConnection(t *testing.T) {
	t.Parallel()
	ctx, p := bounded(t), newPool(t, &pool.Config{MaxConns: 1, Logger: (&logs{}).logger()})
	// It has 100 ms to be read, which a busy machine may need for other things.
	eventually(t, "the connection is kept", func() bool {
		first := pid(t, p)
		inv, scope := p.OpenScope(ctx, "", time.Time{})
		tx, err := p.Begin(inv)
		require.NoError(t, err)
		b := &pgx.Batch{}
		b.Queue("select generate_series(1, 100)")
		tx.SendBatch(context.WithoutCancel(inv), b)
		scope.End()
		return pid(t, p) == first
	})
}

func TestASecondCloseOfABatchIsTheFirst(t *testing.T) {
	t.Parallel()
	ctx, p := bounded(t), newPool(t, &pool.Config{MaxConns: 1})
	for name, use := range map[string]struct {
		sql  string
		read func(pgx.BatchResults)
	}{
		"a failed statement": {"select 1/0", func(pgx.BatchResults) {}},
		"a failed scan":      {"select 'x'", func(br pgx.BatchResults) { var n int; br.QueryRow().Scan(&n) }},
	} {
		closeTwice := func(db interface {
			SendBatch(context.Context, *pgx.Batch) pgx.BatchResults
		},
		) {
			t.Helper()
			b := &pgx.Batch{}
			b.Queue(use.sql)
			br := db.SendBatch(ctx, b)
			use.read(br)
			first := br.Close()
			assert.Error(t, first, name)
			assert.Equal(t, first, br.Close(), name)
		}
		closeTwice(p)
		assert.Zero(t, p.Stat().AcquiredConns(), name)
		assert.NoError(t, p.AcquireFunc(ctx, func(l *pool.Lease) error {
			closeTwice(l)
			return l.Ping(ctx)
		}), name)
	}
}

func TestAForgottenResultThatTakesTooLongIsCancelled(t *testing.T) {
	t.Parallel()
	for name, wait := range map[string]time.Duration{"asked": patience, "as in pgx": -1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, p := bounded(t), newPool(t, &pool.Config{MaxConns: 1, CancelWait: wait, Logger: (&logs{}).logger()})
			first := pid(t, p)
			inv, scope := p.OpenScope(ctx, "", time.Time{})
			_, err := p.Query(context.WithoutCancel(inv), rowsThenSleep)
			require.NoError(t, err)
			scope.End()
			began := time.Now()
			assert.Equal(t, wait > 0, first == pid(t, p), "the connection is kept")
			assert.Less(t, time.Since(began), 10*time.Second)
		})
	}
}

// hurried is a socket that tells when its time is over.
type hurried struct {
	*net.TCPConn
	once sync.Once
	over chan struct{}
}

func (h *hurried) SetDeadline(t time.Time) error {
	if !t.IsZero() {
		h.once.Do(func() { close(h.over) })
	}
	return h.TCPConn.SetDeadline(t)
}

// slowEnd is a tracer for which a result ends only when its time is over.
type slowEnd struct{ over chan struct{} }

func (*slowEnd) TraceQueryStart(ctx context.Context, _ *pgx.Conn, d pgx.TraceQueryStartData) context.Context {
	return context.WithValue(ctx, sqlKey{}, d.SQL)
}

func (s *slowEnd) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryEndData) {
	if ctx.Value(sqlKey{}) == "select 'slow'" {
		<-s.over
	}
}

// The result is read, but after the time for it: the socket has got a deadline, which
// whoever gets it next must not have.
func TestAForgottenResultThatEndsTooLateLeavesNoDeadline(t *testing.T) {
	t.Parallel()
	over := make(chan struct{})
	ctx, p := bounded(t), newPool(t, &pool.Config{
		MaxConns: 1,
		Tracer:   &slowEnd{over},
		Logger:   (&logs{}).logger(),
		BeforeConnect: wrapped(func(nc *net.TCPConn) net.Conn {
			return &hurried{TCPConn: nc, over: over}
		}),
	})
	first := pid(t, p)
	inv, scope := p.OpenScope(ctx, "", time.Time{})
	_, err := p.Query(context.WithoutCancel(inv), "select 'slow'")
	require.NoError(t, err)
	scope.End()
	assert.Equal(t, first, pid(t, p))
	_, err = p.Exec(ctx, "select pg_sleep(0.3)") // longer than the deadline was
	assert.NoError(t, err)
}

// The hook is asked once for each release: what it leaves open is rolled back, and it is not asked about that.
func TestAHookThatLeavesATransactionOpenIsCalledOnce(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	ctx, p := bounded(t), newPool(t, &pool.Config{MaxConns: 1, AfterRelease: func(c *pgx.Conn) bool {
		calls.Add(1)
		_, err := c.Exec(context.Background(), "begin")
		return err == nil
	}})
	first := pid(t, p)
	for range 3 {
		l, err := p.Acquire(ctx)
		require.NoError(t, err)
		assert.EqualValues(t, 'I', l.Conn().PgConn().TxStatus())
		l.Release()
		assert.Equal(t, first, pid(t, p))
	}
	eventually(t, "the last is back", func() bool { return p.Stat().IdleConns() == 1 })
	assert.EqualValues(t, 1+3*2, calls.Load())
}

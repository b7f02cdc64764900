package pool_test

import (
	"context"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// short is a CancelWait that a test waits for.
const short = 50 * time.Millisecond

// On a network that has gone silent the caller is back all the same, the outcome is
// unknown, and when the network is there again the server hears of it.
func TestOnASilentNetworkACancelledCallerIsBack(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	ctx, see, proxy := bounded(t), newInspector(t, dsn), newProxy(t, dsn)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1, CancelWait: short, BeforeConnect: through(proxy), Logger: (&logs{}).logger()})
	_, err := p.Exec(ctx, "create table t (n int)")
	require.NoError(t, err)
	cut, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { _, err := p.Exec(cut, "insert into t select 1 from pg_sleep(30)"); done <- err }()
	eventually(t, "it runs", func() bool { return see.running("%pg_sleep(30)") == 1 })
	proxy.Stall(true)
	cancel()
	err = ends(t, "the caller on a silent network", done)
	assert.ErrorIs(t, err, context.Canceled)
	assert.True(t, pool.OutcomeUnknown(err))
	assert.EqualValues(t, 1, p.Stat().Cancels().Lost)
	assert.EqualValues(t, 1, p.Stat().TotalConns(), "its place is not free: the server has it still")
	proxy.Stall(false)
	eventually(t, "no orphan", func() bool { return see.running("%pg_sleep(30)") == 0 })
	var n int
	require.NoError(t, p.QueryRow(ctx, "select count(*) from t").Scan(&n))
	assert.Zero(t, n)
	assert.EqualValues(t, 1, p.Stat().TotalConns())
	assert.Zero(t, p.Stat().Cancels().Conns)
}

func TestACommitOnASilentNetworkHasAnUnknownOutcome(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	ctx, proxy := bounded(t), newProxy(t, dsn)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1, CancelWait: short, BeforeConnect: through(proxy), Logger: (&logs{}).logger()})
	x, err := p.Begin(ctx)
	require.NoError(t, err)
	proxy.Stall(true)
	soon, cancel := context.WithTimeout(ctx, short)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- x.Commit(soon) }()
	err = ends(t, "the commit", done)
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	assert.True(t, pool.OutcomeUnknown(err), "%v", err)
	assert.ErrorIs(t, x.Rollback(ctx), pgx.ErrTxClosed)
	assert.EqualValues(t, 1, p.Stat().Cancels().Lost)
	proxy.Stall(false)
	assert.NoError(t, p.Ping(ctx))
}

// A backend that does not answer is given up after CancelWait.
func TestABackendThatDoesNotAnswerACancelIsGivenUp(t *testing.T) {
	t.Parallel()
	b := newCancelLab(t, &pool.Config{CancelWait: short})
	backend, err := os.FindProcess(b.pid)
	require.NoError(t, err)
	started := make(chan struct{})
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		close(started)
		_, err := b.p.Exec(ctx, "insert into t select 1 from pg_sleep(30)")
		done <- err
	}()
	<-started
	eventually(t, "it runs", func() bool { return b.see.running("%pg_sleep(30)") == 1 })
	if err := backend.Signal(syscall.SIGSTOP); err != nil {
		t.Skipf("the server's processes are not ours to stop: %v", err)
	}
	defer backend.Signal(syscall.SIGCONT)
	cancel()
	err = ends(t, "the caller", done)
	assert.ErrorIs(t, err, context.Canceled)
	assert.True(t, pool.OutcomeUnknown(err))
	assert.EqualValues(t, 1, b.p.Stat().Cancels().Lost)
	require.NoError(t, backend.Signal(syscall.SIGCONT))
	eventually(t, "no orphan", func() bool { return b.see.running("%pg_sleep(30)") == 0 })
	assert.NotEqual(t, b.pid, pid(t, b.p))
	assert.Equal(t, 1, b.see.backends())
	assert.Zero(t, b.see.count("select count(*) from t"))
}

// deaf is a cancel connection whose end is never seen.
type deaf struct {
	net.Conn
	here, there net.Conn
}

func newDeaf(nc net.Conn) *deaf {
	here, there := net.Pipe()
	return &deaf{Conn: nc, here: here, there: there}
}

func (d *deaf) Read(b []byte) (int, error) { return d.here.Read(b) }

func (d *deaf) SetDeadline(t time.Time) error {
	_ = d.here.SetDeadline(t)
	return d.Conn.SetDeadline(t)
}

func (d *deaf) Close() error {
	d.here.Close()
	d.there.Close()
	return d.Conn.Close()
}

// Without the end of the cancel connection nobody knows whether the request is still to
// come, so nobody gets the connection.
func TestACancelConnectionWithoutEndClosesTheConnection(t *testing.T) {
	t.Parallel()
	newLab := func(t *testing.T) *cancelLab {
		return newCancelLab(t, &pool.Config{CancelWait: 10 * short, BeforeConnect: cancelDials(func(_ context.Context, own func() (net.Conn, error)) (net.Conn, error) {
			nc, err := own()
			if err != nil {
				return nil, err
			}
			return newDeaf(nc), nil
		})})
	}
	closed := func(b *cancelLab) {
		b.t.Helper()
		assert.NotEqual(b.t, b.pid, pid(b.t, b.p), "the next has another")
		assert.EqualValues(b.t, 1, b.p.Stat().Cancels().Lost)
		assert.Equal(b.t, 1, b.see.backends())
		assert.Zero(b.t, b.see.count("select count(*) from t"))
		eventually(b.t, "its slot is free", func() bool { return b.p.Stat().Cancels().Conns == 0 })
	}
	t.Run("statement", func(t *testing.T) {
		t.Parallel()
		b := newLab(t)
		isCanceled(t, b.stopped(func(ctx context.Context) error {
			_, err := b.p.Exec(ctx, "insert into t select 1 from pg_sleep(30)")
			return err
		}))
		closed(b)
	})
	t.Run("lease", func(t *testing.T) {
		t.Parallel()
		b := newLab(t)
		l, err := b.p.Acquire(b.ctx)
		require.NoError(t, err)
		isCanceled(t, b.stopped(func(ctx context.Context) error { _, err := l.Exec(ctx, "select pg_sleep(30)"); return err }))
		for range 2 {
			_, err = l.Exec(b.ctx, "insert into t values (1)")
			assert.ErrorContains(t, err, "lmipool: the statement was not sent: the server does not acknowledge the cancel request")
			assert.True(t, pgconn.SafeToRetry(err))
			assert.False(t, pool.OutcomeUnknown(err))
		}
		l.Release()
		closed(b)
	})
	t.Run("transaction", func(t *testing.T) {
		t.Parallel()
		b := newLab(t)
		x, err := b.p.Begin(b.ctx)
		require.NoError(t, err)
		isCanceled(t, b.stopped(func(ctx context.Context) error {
			_, err := x.Exec(ctx, "insert into t select 1 from pg_sleep(30)")
			return err
		}))
		err = x.Commit(b.ctx)
		assert.True(t, pgconn.SafeToRetry(err), "%v", err)
		assert.ErrorIs(t, x.Rollback(b.ctx), pgx.ErrTxClosed)
		closed(b)
	})
}

// Who waits for the end of a cancel connection when his invocation ends sends nothing.
func TestNothingIsSentWhenTheInvocationEndsWhileItsConnectionSettles(t *testing.T) {
	t.Parallel()
	gate, at := make(chan struct{}), make(chan struct{}, 1)
	b := newCancelLab(t, &pool.Config{BeforeConnect: cancelDials(func(_ context.Context, own func() (net.Conn, error)) (net.Conn, error) {
		nc, err := own()
		return &late{Conn: nc, gate: gate, at: at}, err
	})})
	inv, scope := b.p.OpenScope(b.ctx, "", time.Time{})
	l, err := b.p.Acquire(inv)
	require.NoError(t, err)
	isCanceled(t, b.stopped(func(ctx context.Context) error { _, err := l.Exec(ctx, "select pg_sleep(30)"); return err }))
	ends(t, "the end of the cancel connection is there", at)
	done := make(chan error, 1)
	go func() { _, err := l.Exec(b.ctx, "insert into t values (1)"); done <- err }()
	eventually(t, "the insert was called", func() bool {
		soon, cancel := context.WithTimeout(b.ctx, 2*time.Millisecond)
		defer cancel()
		_, err := b.p.Acquire(soon)
		return err != nil && strings.Contains(err.Error(), "insert into t values (?)")
	})
	scope.End()
	close(gate)
	assert.ErrorIs(t, ends(t, "the insert", done), pool.ErrInvocationEnded)
	b.kept()
	assert.Zero(t, b.see.count("select count(*) from t"))
}

// late is a cancel connection whose end is seen when gate is closed.
type late struct {
	net.Conn
	gate <-chan struct{}
	at   chan<- struct{}
}

func (l *late) Read(b []byte) (int, error) {
	n, err := l.Conn.Read(b)
	select {
	case l.at <- struct{}{}:
	default:
	}
	<-l.gate
	return n, err
}

// More cancel requests than are stated wait for their turn, and one whose statement ends
// meanwhile is not sent.
func TestCancelRequestsQueueBehindTheirBound(t *testing.T) {
	t.Parallel()
	const most = 12
	dsn := pgtest.Database(t)
	ctx, see := bounded(t), newInspector(t, dsn)
	gate := make(chan struct{})
	var open gauge
	p := newPoolAt(t, dsn, &pool.Config{
		MaxConns: most, CancelWait: patience, Lanes: pool.Off, Logger: (&logs{}).logger(),
		BeforeConnect: cancelDials(func(ctx context.Context, own func() (net.Conn, error)) (net.Conn, error) {
			defer open.enter()()
			select {
			case <-gate:
				return own()
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}),
	})
	cut, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, most)
	for range most - 1 {
		go func() { _, err := p.Exec(cut, "select pg_sleep(30)"); done <- err }()
	}
	eventually(t, "they run", func() bool { return see.running("%pg_sleep(30)") == most-1 })
	quick, cancelQuick := context.WithCancel(ctx)
	defer cancelQuick()
	l, err := p.Acquire(ctx)
	require.NoError(t, err)
	finished := make(chan error, 1)
	see.count("select count(pg_advisory_lock(7))") // the inspector's, for as long as it likes
	go func() { _, err := l.Exec(quick, "select pg_advisory_xact_lock(7)"); finished <- err }()
	eventually(t, "it waits for a lock", func() bool { return see.running("%pg_advisory_xact_lock(7)") == 1 })

	cancel()
	bound := int64(p.Stat().Cancels().MaxConns)
	require.EqualValues(t, 8, bound)
	eventually(t, "all slots are taken", func() bool { return open.now.Load() == bound })
	cancelQuick()
	see.count("select count(pg_advisory_unlock(7))")
	assert.NoError(t, ends(t, "what ended before its cancel request", finished), "a statement that was in time has no error")
	require.NoError(t, l.Ping(ctx), "and its connection waits for nothing")
	l.Release()
	assert.EqualValues(t, bound, p.Stat().Cancels().Conns)
	assert.EqualValues(t, bound, open.all.Load())
	close(gate)
	for range most - 1 {
		isCanceled(t, ends(t, "the cancelled statements", done))
	}
	assert.LessOrEqual(t, open.most.Load(), bound)
	eventually(t, "all is settled", func() bool { return p.Stat().TotalConns() == p.Stat().IdleConns() && p.Stat().Cancels().Conns == 0 })
	assert.EqualValues(t, most, p.Stat().NewConnsCount())
	assert.Zero(t, p.Stat().Cancels().Lost)
}

// A request that arrives too early does nothing, so it is repeated.
func TestACancelRequestThatGotLostIsRepeated(t *testing.T) {
	t.Parallel()
	lost := 2
	b := newCancelLab(t, &pool.Config{BeforeConnect: cancelDials(func(_ context.Context, own func() (net.Conn, error)) (net.Conn, error) {
		if lost--; lost < 0 {
			return own()
		}
		here, there := net.Pipe()
		go func() { // reads the request, and says that it is done
			there.Read(make([]byte, 16))
			there.Close()
		}()
		return here, nil
	})})
	isCanceled(t, b.stopped(func(ctx context.Context) error { _, err := b.p.Exec(ctx, "select pg_sleep(30)"); return err }))
	b.kept()
	assert.EqualValues(t, 3, b.p.Stat().Cancels().Requests)
}

// Shutdown beside cancels ends, and with it all that they started.
func TestShutdownWaitsForCancelsUnderWay(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	p := newPool(t, &pool.Config{MaxConns: 4, Logger: (&logs{}).logger()})
	cut, cancel := context.WithTimeout(ctx, 30*time.Millisecond)
	defer cancel()
	together(8, func(int) {
		_, err := p.Exec(cut, "select pg_sleep(30)")
		assert.ErrorIs(t, err, context.DeadlineExceeded)
	})
	assert.NoError(t, p.Shutdown(ctx))
	assert.Zero(t, p.Stat().Cancels().Conns)
	assert.Zero(t, p.Stat().TotalConns())
}

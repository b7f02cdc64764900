package pool_test

import (
	"context"
	"errors"
	"fmt"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/lmipool/lmipool/pool"
)

var invocations atomic.Int64

// invocation runs f in a scope of its own, with a label as Handler does.
func invocation(ctx context.Context, p *pool.Pool, f func(context.Context) error) (err error) {
	ctx, scope := p.OpenScope(ctx, "", time.Time{})
	defer scope.End()
	id := fmt.Sprint(invocations.Add(1))
	scope.Labelled(`"test_invocation":"` + id + `"`)
	pprof.Do(ctx, pprof.Labels("test_invocation", id), func(ctx context.Context) { err = f(ctx) })
	return err
}

// twice holds one connection and wants another, when everybody holds one.
func twice(ctx context.Context, p *pool.Pool, all *sync.WaitGroup) error {
	first, err := p.Acquire(ctx)
	if err != nil {
		return err
	}
	defer first.Release()
	all.Done()
	all.Wait()
	second, err := p.Acquire(ctx)
	if err != nil {
		return err
	}
	second.Release()
	return nil
}

// broken counts the errors of a standstill, and fails the test for others.
func broken(t *testing.T, errs []error) (n int) {
	t.Helper()
	for _, err := range errs {
		var nested *pool.NestedAcquireError
		if err == nil {
			continue
		}
		n++
		require.ErrorIs(t, err, pool.ErrNestedAcquire)
		require.ErrorAs(t, err, &nested)
		require.NotEmpty(t, nested.Holder.Stack)
		require.NotEmpty(t, nested.Waiting)
		assert.Contains(t, nested.Holder.Stack[0], "pool_test.")
		assert.Contains(t, nested.Waiting[0], "pool_test.")
		assert.NotEqual(t, nested.Holder.Stack[0], nested.Waiting[0], "two places")
		assert.False(t, pool.OutcomeUnknown(err))
	}
	return n
}

// allAtOnce runs f n times at once and says how long it took.
func allAtOnce(n int, f func(i int) error) (errs []error, took time.Duration) {
	errs = make([]error, n)
	start := time.Now()
	var g sync.WaitGroup
	for i := range n {
		g.Go(func() { errs[i] = f(i) })
	}
	g.Wait()
	return errs, time.Since(start)
}

// As many invocations as connections, each with one and wanting a second: nobody could
// ever go on. Whoever is failed gives its connection to the others.
func TestAStandstillIsBroken(t *testing.T) {
	t.Parallel()
	const conns = 4
	for name, f := range map[string]func(ctx context.Context, p *pool.Pool, all *sync.WaitGroup) error{
		"Acquire": func(ctx context.Context, p *pool.Pool, all *sync.WaitGroup) error {
			return invocation(ctx, p, func(ctx context.Context) error { return twice(ctx, p, all) })
		},
		"AcquireFunc": func(ctx context.Context, p *pool.Pool, all *sync.WaitGroup) error {
			return invocation(ctx, p, func(ctx context.Context) error {
				return p.AcquireFunc(ctx, func(*pool.Lease) error {
					all.Done()
					all.Wait()
					_, err := p.Exec(ctx, "select 1")
					return err
				})
			})
		},
		"InTx": func(ctx context.Context, p *pool.Pool, all *sync.WaitGroup) error {
			return pool.InTx(ctx, p, pool.TxOptions{}, func(ctx context.Context, _ pgx.Tx) error {
				all.Done()
				all.Wait()
				return pool.InTx(ctx, p, pool.TxOptions{}, transferNothing)
			})
		},
		"InTx in an invocation": func(ctx context.Context, p *pool.Pool, all *sync.WaitGroup) error {
			return invocation(ctx, p, func(ctx context.Context) error {
				return pool.InTx(ctx, p, pool.TxOptions{}, func(ctx context.Context, _ pgx.Tx) error {
					all.Done()
					all.Wait()
					_, err := p.Exec(ctx, "select $1::int", 1)
					return err
				})
			})
		},
		"goroutines of a function": func(ctx context.Context, p *pool.Pool, all *sync.WaitGroup) error {
			return pool.InTx(ctx, p, pool.TxOptions{}, func(ctx context.Context, _ pgx.Tx) error {
				all.Done()
				all.Wait()
				g, ctx := errgroup.WithContext(ctx)
				for range 3 {
					g.Go(func() error { _, err := p.Exec(ctx, "select $1::int", 1); return err })
				}
				return g.Wait()
			})
		},
		"Rows": func(ctx context.Context, p *pool.Pool, all *sync.WaitGroup) error {
			return invocation(ctx, p, func(ctx context.Context) error {
				r, err := p.Query(ctx, "select generate_series(1, 3)")
				if err != nil {
					return err
				}
				defer r.Close()
				all.Done()
				all.Wait()
				for r.Next() {
					if _, err := p.Exec(ctx, "select $1::int", 1); err != nil {
						return err
					}
				}
				return r.Err()
			})
		},
		"a forgotten lease": func(ctx context.Context, p *pool.Pool, all *sync.WaitGroup) error {
			return invocation(ctx, p, func(ctx context.Context) error {
				_, err := p.Begin(ctx)
				if err != nil {
					return err
				}
				all.Done()
				all.Wait()
				_, err = p.Begin(ctx)
				return err
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := &logs{}
			p := newPool(t, &pool.Config{MaxConns: conns, MinConns: conns, Logger: log.logger()})
			require.NoError(t, p.Warm(bounded(t)))
			eventually(t, "all are open", func() bool { return p.Stat().IdleConns() == conns })
			all := &sync.WaitGroup{}
			all.Add(conns)
			errs, took := allAtOnce(conns, func(int) error { return f(bounded(t), p, all) })
			n := broken(t, errs)
			t.Logf("%d of %d failed, all were done after %v", n, conns, took)
			assert.Positive(t, n)
			assert.Less(t, n, conns, "who is left gets what the failed give back")
			assert.Less(t, took, 5*time.Second)
			eventually(t, "everything came back", func() bool { return p.Stat().AcquiredConns() == 0 })
			if name == "goroutines of a function" { // each of the three needs one: see above
				return
			}
			assert.EqualValues(t, n, p.Stat().NestedCount())
		})
	}
}

func transferNothing(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, "select $1::int", 1)
	return err
}

// With one connection there is nothing to wait for, and it is said at once.
func TestOneConnectionCannotBeNested(t *testing.T) {
	t.Parallel()
	log := &logs{}
	p := newPool(t, &pool.Config{MaxConns: 1, Logger: log.logger()})
	err := pool.InTx(bounded(t), p, pool.TxOptions{}, func(ctx context.Context, _ pgx.Tx) error {
		_, err := p.Exec(ctx, "select $1::int", 1)
		return err
	})
	assert.Equal(t, 1, broken(t, []error{err}))
	t.Log(err)
	var acquire *pool.AcquireError
	require.ErrorAs(t, err, &acquire)
	assert.Less(t, acquire.Waited, time.Second)
	assert.Contains(t, err.Error(), "nested acquire: all connections are held by those who wait for another (held ")
	pid(t, p)
}

// The fan-out of an errgroup waits for connections that others of the same invocation
// hold, and that is no standstill, however it looks from outside.
func TestAFanOutIsNoStandstill(t *testing.T) {
	t.Parallel()
	dsn, _ := accounts(t)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 4})
	const n = 64
	errs, took := allAtOnce(n, func(i int) error {
		return invocation(bounded(t), p, func(ctx context.Context) error {
			var g errgroup.Group
			for j := range 3 {
				g.Go(func() error {
					if (i+j)%2 == 0 {
						return pool.InTx(ctx, p, pool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
							if err := transferNothing(ctx, tx); err != nil {
								return err
							}
							time.Sleep(time.Duration(i%3*20) * time.Millisecond) // thinks
							return transferNothing(ctx, tx)
						})
					}
					tx, err := p.Begin(ctx)
					if err != nil {
						return err
					}
					defer tx.Rollback(ctx)
					if err := transferNothing(ctx, tx); err != nil {
						return err
					}
					time.Sleep(time.Duration(i%3*20) * time.Millisecond)
					return tx.Commit(ctx)
				})
			}
			return g.Wait()
		})
	})
	require.NoError(t, errors.Join(errs...))
	t.Logf("%d invocations of 3 transactions on 4 connections: no error, %v", n, took)
}

// Everybody who has a connection thinks for long, and of each invocation others wait:
// the goroutine profile shows who thinks.
func TestWhoThinksIsNotTakenForWaiting(t *testing.T) {
	t.Parallel()
	const conns = 3
	p := newPool(t, &pool.Config{MaxConns: conns, MinConns: conns})
	require.NoError(t, p.Warm(bounded(t)))
	eventually(t, "all are open", func() bool { return p.Stat().IdleConns() == conns })
	think := make(chan struct{})
	var all sync.WaitGroup
	all.Add(conns)
	time.AfterFunc(300*time.Millisecond, func() { close(think) })
	errs, _ := allAtOnce(conns, func(int) error {
		return invocation(bounded(t), p, func(ctx context.Context) error {
			first, err := p.Acquire(ctx)
			if err != nil {
				return err
			}
			all.Done()
			all.Wait()
			var g errgroup.Group
			g.Go(func() error {
				l, err := p.Acquire(ctx)
				if err == nil {
					l.Release()
				}
				return err
			})
			<-think
			first.Release()
			return g.Wait()
		})
	})
	require.NoError(t, errors.Join(errs...))
	assert.Zero(t, p.Stat().NestedCount())
}

// So is one of somebody's workers, which carries no label: it acquired on the
// invocation's behalf.
func TestAWorkerThatThinksIsNotTakenForWaiting(t *testing.T) {
	t.Parallel()
	p := newPool(t, &pool.Config{MaxConns: 1})
	jobs, think := make(chan context.Context), make(chan struct{})
	var worker errgroup.Group
	worker.Go(func() error {
		l, err := p.Acquire(<-jobs)
		if err != nil {
			return err
		}
		defer l.Release()
		close(jobs)
		<-think
		return nil
	})
	require.NoError(t, invocation(bounded(t), p, func(ctx context.Context) error {
		jobs <- ctx
		<-jobs
		time.AfterFunc(200*time.Millisecond, func() { close(think) })
		_, err := p.Exec(ctx, "select 1")
		return err
	}))
	require.NoError(t, worker.Wait())
}

// A lease that no goroutine uses any more comes back with its scope, if that does not
// wait itself.
func TestAScopeThatDoesNotWaitIsHope(t *testing.T) {
	t.Parallel()
	p := newPool(t, &pool.Config{MaxConns: 2, Logger: (&logs{}).logger()})
	stream, scope := p.OpenScope(bounded(t), "", time.Time{})
	acquired := make(chan error)
	go func() { _, err := p.Acquire(stream); acquired <- err }()
	require.NoError(t, <-acquired)
	require.NoError(t, invocation(bounded(t), p, func(ctx context.Context) error {
		l, err := p.Acquire(ctx)
		if err != nil {
			return err
		}
		defer l.Release()
		time.AfterFunc(200*time.Millisecond, scope.End)
		_, err = p.Exec(ctx, "select 1")
		return err
	}))
}

// Outside a scope nobody is known to be waiting: the deadline ends it.
func TestWithoutAScopeNobodyIsTakenForWaiting(t *testing.T) {
	t.Parallel()
	p := newPool(t, &pool.Config{MaxConns: 1})
	l, err := p.Acquire(bounded(t))
	require.NoError(t, err)
	defer l.Release()
	ctx, cancel := context.WithTimeout(bounded(t), 200*time.Millisecond)
	defer cancel()
	_, err = p.Acquire(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, pool.ErrNestedAcquire)
}

// Without a label, those who hold are told from those who work by what they do.
func TestAStandstillIsBrokenWithoutLabels(t *testing.T) {
	t.Parallel()
	const conns = 2
	p := newPool(t, &pool.Config{MaxConns: conns, MinConns: conns, Logger: (&logs{}).logger()})
	require.NoError(t, p.Warm(bounded(t)))
	eventually(t, "all are open", func() bool { return p.Stat().IdleConns() == conns })
	all := &sync.WaitGroup{}
	all.Add(conns)
	errs, took := allAtOnce(conns, func(int) error {
		ctx, scope := p.OpenScope(bounded(t), "", time.Time{})
		defer scope.End()
		return nobodyElseRunsThis(ctx, p, all)
	})
	assert.Equal(t, 1, broken(t, errs))
	t.Logf("after %v", took)
}

func nobodyElseRunsThis(ctx context.Context, p *pool.Pool, all *sync.WaitGroup) error {
	first, err := p.Acquire(ctx)
	if err != nil {
		return err
	}
	defer first.Release()
	all.Done()
	all.Wait()
	second, err := p.Acquire(ctx)
	if err != nil {
		return err
	}
	second.Release()
	return nil
}

// A dial that is under way is hope.
func TestADialIsHope(t *testing.T) {
	t.Parallel()
	dsn, _ := accounts(t)
	proxy := newProxy(t, dsn)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 2, BeforeConnect: through(proxy), Logger: (&logs{}).logger()})
	require.NoError(t, p.Warm(bounded(t)))
	proxy.SetRoundTrip(100 * time.Millisecond)
	require.NoError(t, pool.InTx(bounded(t), p, pool.TxOptions{}, func(ctx context.Context, _ pgx.Tx) error {
		_, err := p.Exec(ctx, "select $1::int", 1)
		return err
	}))
}

func TestAPoolUsedInsideATransactionIsReportedOnce(t *testing.T) {
	t.Parallel()
	log := &logs{}
	p := newPool(t, &pool.Config{MaxConns: 3, Logger: log.logger()})
	var calls atomic.Int64
	for range 5 {
		require.NoError(t, pool.InTx(bounded(t), p, pool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
			for range 2 {
				calls.Add(1)
				if _, err := p.Exec(ctx, "select 'lost update', $1::int", 1); err != nil {
					return err
				}
			}
			return transferNothing(ctx, tx)
		}))
	}
	lines := log.lines()
	require.Len(t, lines, 1)
	assert.Contains(t, lines[0], "the pool was used with the ctx of a transaction's function")
	assert.Contains(t, lines[0], "doing=select 'lost update'")
	assert.Contains(t, lines[0], "used_at=[github.com/lmipool/lmipool/pool_test.TestAPoolUsedInsideATransactionIsReportedOnce")
	assert.Contains(t, lines[0], "begun_at=[github.com/lmipool/lmipool/pool_test.TestAPoolUsedInsideATransactionIsReportedOnce")

	// The ctx from outside says that it is on purpose; so does Detach. Afterwards it is none.
	ctx := bounded(t)
	var kept context.Context
	require.NoError(t, pool.InTx(ctx, p, pool.TxOptions{}, func(inner context.Context, _ pgx.Tx) error {
		kept = inner
		if _, err := p.Exec(ctx, "select $1::int", 1); err != nil {
			return err
		}
		free, cancel := pool.Detach(inner, 0)
		defer cancel()
		_, err := p.Exec(free, "select $1::int", 1)
		return err
	}))
	_, err := p.Exec(kept, "select $1::int", 1)
	require.NoError(t, err)

	// Another pool is another matter.
	other := newPool(t, &pool.Config{Logger: log.logger()})
	require.NoError(t, pool.InTx(ctx, p, pool.TxOptions{}, func(ctx context.Context, _ pgx.Tx) error {
		_, err := other.Exec(ctx, "select $1::int", 1)
		return err
	}))
	assert.Len(t, log.lines(), 1)
}

func TestAnIdleTransactionIsReportedWhileItLasts(t *testing.T) {
	t.Parallel()
	ctx, log := bounded(t), &logs{}
	p := newPool(t, &pool.Config{ReportIdleTxAfter: 20 * time.Millisecond, Logger: log.logger()})
	idle := func() (n int) {
		for _, l := range log.lines() {
			if strings.Contains(l, "a transaction is open and idle") {
				assert.Contains(t, l, "TestAnIdleTransactionIsReportedWhileItLasts")
				assert.Contains(t, l, "select")
				assert.Contains(t, l, "request_id=r-1")
				n++
			}
		}
		return n
	}
	inv, scope := p.OpenScope(ctx, "r-1", time.Time{})
	defer scope.End()
	lease, err := p.Acquire(inv)
	require.NoError(t, err)
	_, err = lease.Exec(ctx, "select 1")
	require.NoError(t, err)
	tx, err := p.Begin(inv)
	require.NoError(t, err)
	require.NoError(t, transferNothing(ctx, tx))
	eventually(t, "it is reported", func() bool { return idle() == 1 })
	require.NoError(t, transferNothing(ctx, tx))
	eventually(t, "it is idle again", func() bool { return idle() == 2 })

	// One by hand, on a lease that was idle without, is one too.
	require.NoError(t, tx.Rollback(ctx))
	_, err = lease.Exec(ctx, "begin; select 1")
	require.NoError(t, err)
	eventually(t, "it is reported", func() bool { return idle() == 3 })
	lease.Release()
	time.Sleep(60 * time.Millisecond) // three ticks and more
	assert.Equal(t, 3, idle(), "each once")
}

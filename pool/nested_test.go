package pool_test

import (
	"context"
	"errors"
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

// invocation runs f in a scope of its own.
func invocation(ctx context.Context, p *pool.Pool, f func(context.Context) error) error {
	ctx, scope := p.OpenScope(ctx, "r-1", time.Time{})
	defer scope.End()
	return f(ctx)
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
			assert.EqualValues(t, n, p.Stat().Invocations().Nested)
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

// What is held without a function of InTx may be given back at any time: a deadline ends the wait, and its
// error says who holds the connections, and where.
func TestWhoWaitsForEachOtherIsToldWhoHolds(t *testing.T) {
	t.Parallel()
	const conns = 2
	want := func(ctx context.Context, p *pool.Pool) error {
		_, err := p.Exec(ctx, "select $1::int", 1)
		return err
	}
	for name, f := range map[string]func(ctx context.Context, p *pool.Pool, all func()) error{
		"Acquire": func(ctx context.Context, p *pool.Pool, all func()) error {
			first, err := p.Acquire(ctx)
			if err != nil {
				return err
			}
			defer first.Release()
			all()
			return want(ctx, p)
		},
		"AcquireFunc": func(ctx context.Context, p *pool.Pool, all func()) error {
			return p.AcquireFunc(ctx, func(*pool.Lease) error {
				all()
				return want(ctx, p)
			})
		},
		"Rows": func(ctx context.Context, p *pool.Pool, all func()) error {
			r, err := p.Query(ctx, "select generate_series(1, 3)")
			if err != nil {
				return err
			}
			defer r.Close()
			all()
			return want(ctx, p)
		},
		"a forgotten transaction": func(ctx context.Context, p *pool.Pool, all func()) error {
			if _, err := p.Begin(ctx); err != nil {
				return err
			}
			all()
			return want(ctx, p)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPool(t, &pool.Config{MaxConns: conns, MinConns: conns, Logger: (&logs{}).logger()})
			require.NoError(t, p.Warm(bounded(t)))
			eventually(t, "all are open", func() bool { return p.Stat().IdleConns() == conns })
			all := &sync.WaitGroup{}
			all.Add(conns)
			errs, _ := allAtOnce(conns, func(i int) error {
				return invocation(bounded(t), p, func(ctx context.Context) error {
					if i == 0 { // the other gets what this one gives back
						short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
						defer cancel()
						ctx = short
					}
					return f(ctx, p, func() { all.Done(); all.Wait() })
				})
			})
			require.NoError(t, errs[1])
			var acquire *pool.AcquireError
			require.ErrorAs(t, errs[0], &acquire)
			require.ErrorIs(t, acquire, context.DeadlineExceeded)
			require.NotErrorIs(t, acquire, pool.ErrNestedAcquire)
			require.NotNil(t, acquire.Longest)
			assert.Equal(t, "r-1", acquire.Longest.Scope)
			require.NotEmpty(t, acquire.Longest.Stack)
			assert.Contains(t, acquire.Longest.Stack[0], "TestWhoWaitsForEachOtherIsToldWhoHolds")
			eventually(t, "everything came back", func() bool { return p.Stat().AcquiredConns() == 0 })
		})
	}
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
	assert.Contains(t, lines[0], "doing=select ?")
	assert.Regexp(t, `used_at=\[/\S+nested_test\.go:\d+ github\.com/lmipool/lmipool/pool_test\.TestAPoolUsedInsideATransactionIsReportedOnce`, lines[0])
	assert.Regexp(t, `begun_at=\[/\S+nested_test\.go:\d+ github\.com/lmipool/lmipool/pool_test\.TestAPoolUsedInsideATransactionIsReportedOnce`, lines[0])

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
				assert.Contains(t, l, "requestId=r-1")
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
	require.NoError(t, transferNothing(ctx, tx)) // and is idle again, within a minute

	// One by hand, on a lease that was idle without, is one too, at another place.
	_, err = lease.Exec(ctx, "begin; select 1")
	require.NoError(t, err)
	eventually(t, "it is reported", func() bool { return idle() == 2 })
	require.NoError(t, tx.Rollback(ctx))
	lease.Release()
	time.Sleep(60 * time.Millisecond) // three ticks and more
	assert.Equal(t, 2, idle(), "each place once")
}

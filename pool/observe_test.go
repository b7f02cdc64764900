package pool_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/observe"
	"github.com/lmipool/lmipool/pool"
)

// eyes is an observer of all that package pool tells. It keeps the events by their types.
type eyes struct {
	mu   sync.Mutex
	seen map[reflect.Type][]any
	on   func(ctx context.Context, e any) // is called with each event; nil if nothing is
}

func (w *eyes) see(ctx context.Context, e any) {
	if w.on != nil {
		w.on(ctx, e)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen == nil {
		w.seen = map[reflect.Type][]any{}
	}
	w.seen[reflect.TypeOf(e)] = append(w.seen[reflect.TypeOf(e)], e)
}

func (w *eyes) ObserveAcquire(ctx context.Context, e observe.Acquire)     { w.see(ctx, e) }
func (w *eyes) ObserveRelease(ctx context.Context, e observe.Release)     { w.see(ctx, e) }
func (w *eyes) ObserveStatement(ctx context.Context, e observe.Statement) { w.see(ctx, e) }
func (w *eyes) ObserveFlight(ctx context.Context, e observe.Flight)       { w.see(ctx, e) }
func (w *eyes) ObserveDial(ctx context.Context, e observe.Dial)           { w.see(ctx, e) }
func (w *eyes) ObserveReset(ctx context.Context, e observe.Reset)         { w.see(ctx, e) }
func (w *eyes) ObserveCancel(ctx context.Context, e observe.Cancel)       { w.see(ctx, e) }
func (w *eyes) ObserveLimit(ctx context.Context, e observe.Limit)         { w.see(ctx, e) }
func (w *eyes) ObserveRefused(ctx context.Context, e observe.Refusal)     { w.see(ctx, e) }
func (w *eyes) ObserveLeak(ctx context.Context, e observe.Leak)           { w.see(ctx, e) }
func (w *eyes) ObservePanic(ctx context.Context, e observe.Panic)         { w.see(ctx, e) }
func (w *eyes) ObserveFence(ctx context.Context, e observe.Fence)         { w.see(ctx, e) }
func (w *eyes) ObserveShutdown(ctx context.Context, e observe.Shutdown)   { w.see(ctx, e) }

// all are the events of type E so far, in the order in which they were told.
func all[E any](w *eyes) (of []E) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.seen[reflect.TypeFor[E]()] {
		of = append(of, e.(E))
	}
	return of
}

func last[E any](t *testing.T, w *eyes) E {
	t.Helper()
	of := all[E](w)
	require.NotEmpty(t, of, "%T", *new(E))
	return of[len(of)-1]
}

type parentKey struct{}

// Each kind of event is told in a real run, with true numbers and times and the caller's ctx.
func TestEachKindOfEventIsTold(t *testing.T) {
	t.Parallel()
	began := time.Now()
	w := &eyes{on: func(ctx context.Context, e any) {
		switch e := e.(type) {
		case observe.Acquire, observe.Refusal:
			assert.Equal(t, "parent", ctx.Value(parentKey{}), "%T", e)
		case observe.Statement:
			assert.Equal(t, "parent", ctx.Value(parentKey{}), e.SQL)
			assert.False(t, e.Asked.Before(began) || e.Start.Before(e.Asked) || e.End.Before(e.Start), "%+v", e)
		}
	}}
	ctx := context.WithValue(bounded(t), parentKey{}, "parent")
	p := newPoolAt(t, things(t), &pool.Config{MaxConns: 1, MaxQueue: 1, Observers: []any{w}})
	p.NeverSlow()
	p.NeverOld()

	_, err := p.Exec(ctx, "update things set name = $1 where id = $2 and 'x' = 'x'", "secret", 1)
	require.NoError(t, err)
	idle := func() { eventually(t, "idle", func() bool { return p.Stat().IdleConns() == 1 }) }
	idle()
	d := last[observe.Dial](t, w)
	require.NoError(t, d.Err)
	require.NotNil(t, d.Server)
	s := last[observe.Statement](t, w)
	assert.Equal(t, observe.Exec, s.Op)
	assert.Equal(t, "update things set name = $1 where id = $2 and ? = ?", s.Text())
	assert.Equal(t, "UPDATE 1", s.Tag)
	assert.EqualValues(t, 1, s.Rows)
	assert.Equal(t, 1, s.Tries)
	assert.NotEmpty(t, s.Alone, "it waited for the first dial")
	assert.Equal(t, d.Server, s.Server)
	a := last[observe.Acquire](t, w)
	assert.True(t, a.Waited)
	assert.Equal(t, observe.Got, a.Outcome)
	assert.False(t, a.End.Before(a.Start))

	scoped, scope := p.OpenScope(ctx, "request-1", time.Time{})
	var n int
	require.NoError(t, p.QueryRow(scoped, "select count(*) from things").Scan(&n))
	s = last[observe.Statement](t, w)
	assert.Equal(t, "idle", s.Alone)
	assert.Equal(t, "request-1", s.RequestID)
	assert.Zero(t, s.Waited.Truncate(time.Second))
	idle()
	err = p.QueryRow(scoped, "select 1/0").Scan(&n)
	require.Error(t, err)
	require.ErrorContains(t, last[observe.Statement](t, w).Err, "division by zero")

	l, err := p.Acquire(scoped)
	require.NoError(t, err)
	_, err = l.Exec(scoped, "set timezone = 'Asia/Tokyo'")
	require.NoError(t, err)
	assert.Equal(t, "lease", last[observe.Statement](t, w).Alone)
	refused := make(chan error, 2) // nobody can be served, and one can wait
	waits, cancel := context.WithCancel(ctx)
	for range 2 {
		go func() { _, err := p.Acquire(waits); refused <- err }()
	}
	require.ErrorIs(t, <-refused, pool.ErrNoTime)
	r := last[observe.Refusal](t, w)
	assert.Equal(t, observe.QueueFull, r.Reason)
	assert.Equal(t, 1, r.Waiting)
	cancel()
	require.ErrorIs(t, <-refused, context.Canceled)
	assert.Equal(t, observe.Canceled, last[observe.Acquire](t, w).Outcome)
	scope.End()
	leak := last[observe.Leak](t, w)
	assert.Equal(t, "lease", leak.For)
	assert.Equal(t, "request-1", leak.RequestID)
	assert.Contains(t, strings.Join(leak.Place, "\n"), "observe_test.go")
	assert.True(t, last[observe.Release](t, w).TakenBack)
	eventually(t, "a reset", func() bool { return p.Stat().IdleConns() == 1 })
	reset := last[observe.Reset](t, w)
	assert.Equal(t, observe.LeftSession, reset.Reason)
	assert.Equal(t, d.Server, reset.Server)

	rows, err := p.Query(ctx, pointRead, 1)
	require.NoError(t, err)
	_, err = pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	assert.EqualValues(t, 1, last[observe.Statement](t, w).Rows)
	b := &pgx.Batch{}
	b.Queue(pointRead, 1)
	b.Queue(pointRead, 2)
	require.NoError(t, p.SendBatch(ctx, b).Close())
	s = last[observe.Statement](t, w)
	assert.Equal(t, observe.Batch, s.Op)
	assert.Equal(t, 2, s.Queries)
	_, err = p.CopyFrom(ctx, pgx.Identifier{"things"}, []string{"id"}, pgx.CopyFromRows([][]any{{1000}, {1001}}))
	require.NoError(t, err)
	s = last[observe.Statement](t, w)
	assert.Equal(t, observe.Copy, s.Op)
	assert.EqualValues(t, 2, s.Rows)

	tx, err := p.Begin(ctx)
	require.NoError(t, err)
	assert.Equal(t, observe.Begin, last[observe.Statement](t, w).Op)
	_, err = tx.Exec(ctx, "delete from things where id = 1000")
	require.NoError(t, err)
	assert.Equal(t, "transaction", last[observe.Statement](t, w).Alone)
	require.NoError(t, tx.Commit(ctx))
	assert.Equal(t, observe.Commit, last[observe.Statement](t, w).Op)
	require.NoError(t, pool.InTx(ctx, p, pool.TxOptions{}, func(ctx context.Context, _ pgx.Tx) error {
		_, err := p.Acquire(ctx)
		require.ErrorIs(t, err, pool.ErrNestedAcquire)
		return nil
	}))
	a = last[observe.Acquire](t, w)
	assert.Equal(t, observe.NestedWait, a.Outcome)
	assert.True(t, a.Nested)

	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	_, err = p.Exec(short, "select pg_sleep(60)")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	eventually(t, "what became of the cancelled one", func() bool { return len(all[observe.Cancel](w)) == 1 })
	assert.True(t, last[observe.Cancel](t, w).Sent)
}

// The ends of a pool, a hook's panic, a failed dial and a larger limit.
func TestEventsOfDialsAndEnds(t *testing.T) {
	t.Parallel()
	ctx, w := bounded(t), &eyes{}
	p := newPool(t, &pool.Config{
		MaxConns: 2, MinIdleConns: 1, Observers: []any{w}, Logger: slog.New(slog.DiscardHandler),
		ShouldPing: func(context.Context, pgxpool.ShouldPingParams) bool { panic("in a hook") },
	})
	l, err := p.Acquire(ctx)
	require.NoError(t, err)
	m, err := p.Acquire(ctx)
	require.NoError(t, err)
	limit := last[observe.Limit](t, w)
	assert.Equal(t, 1, limit.From)
	assert.Equal(t, 2, limit.To)
	assert.Equal(t, "demand", limit.Why)
	l.Release()
	m.Release()
	_, err = p.Exec(ctx, "select 1")
	require.NoError(t, err)
	panicked := last[observe.Panic](t, w)
	assert.Equal(t, "ShouldPing", panicked.In)
	assert.Equal(t, "in a hook", panicked.Value)
	assert.Contains(t, strings.Join(panicked.Place, "\n"), "observe_test.go")
	require.NoError(t, p.Shutdown(ctx))
	require.NoError(t, last[observe.Shutdown](t, w).Err)
	_, err = p.Exec(ctx, "select 1")
	require.ErrorIs(t, err, pool.ErrClosed)
	assert.Equal(t, observe.Closed, last[observe.Acquire](t, w).Outcome)
	assert.EqualValues(t, len(all[observe.Panic](w)), p.Stat().PanicCount())

	gone := newPoolAt(t, "postgres://u@127.0.0.1:1/d", &pool.Config{Observers: []any{w}, Logger: slog.New(slog.DiscardHandler)})
	_, err = gone.Exec(ctx, "select 1")
	require.Error(t, err)
	eventually(t, "the dial is told", func() bool { return last[observe.Dial](t, w).Err != nil })
	require.ErrorContains(t, last[observe.Dial](t, w).Err, "127.0.0.1")
	assert.Equal(t, observe.Failed, last[observe.Acquire](t, w).Outcome)
}

// An observer that blocks holds up whoever it was called by, and nobody else.
func TestAnObserverThatBlocksHoldsUpItsCallerOnly(t *testing.T) {
	t.Parallel()
	ctx, hold, held := bounded(t), make(chan struct{}), make(chan struct{})
	w := &eyes{on: func(_ context.Context, e any) {
		if s, ok := e.(observe.Statement); ok && s.SQL == "select 'blocks'" {
			close(held)
			<-hold
		}
	}}
	p := newPool(t, &pool.Config{MaxConns: 1, Observers: []any{w}})
	done := make(chan error)
	go func() {
		_, err := p.Exec(ctx, "select 'blocks'")
		done <- err
	}()
	<-held
	for range 10 {
		_, err := p.Exec(ctx, "select 1")
		require.NoError(t, err)
	}
	p.Stat()
	close(hold)
	require.NoError(t, <-done)
}

// Whatever observers do, the pool works.
func TestObserversThatPanicChangeNothing(t *testing.T) {
	t.Parallel()
	ctx, log := bounded(t), &logs{}
	w := &eyes{on: func(context.Context, any) { panic("in an observer") }}
	ok := &eyes{}
	p := newPoolAt(t, things(t), &pool.Config{MaxConns: 2, Observers: []any{w, ok}, Logger: log.logger()})
	for range 20 {
		scoped, scope := p.OpenScope(ctx, "r", time.Time{})
		_, err := p.Exec(scoped, "select 1")
		require.NoError(t, err)
		require.NoError(t, pool.InTx(scoped, p, pool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "set local work_mem = '9MB'")
			return err
		}))
		_, err = p.Acquire(scoped)
		require.NoError(t, err)
		scope.End()
	}
	eventually(t, "all is back", func() bool { return p.Stat().AcquiredConns() == 0 })
	assert.GreaterOrEqual(t, p.Stat().PanicCount(), int64(20*4))
	assert.Len(t, all[observe.Leak](ok), 20)
	assert.Empty(t, all[observe.Panic](ok), "an observer's panic is no event")
	lines := 0
	for _, line := range log.lines() {
		if strings.Contains(line, "an observer panicked") {
			lines++
		}
	}
	assert.Equal(t, 1, lines, "one place")
}

// An observer that uses the pool in each of its methods, and is slow, holds up its callers, but no lock and no connection for ever.
func TestObserversMayUseThePool(t *testing.T) {
	t.Parallel()
	var p *pool.Pool
	var inside atomic.Bool
	var uses atomic.Int64
	w := &eyes{on: func(context.Context, any) {
		if !inside.CompareAndSwap(false, true) {
			return // it is an event of its own call, or of another caller's meanwhile
		}
		defer inside.Store(false)
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		defer cancel()
		_, _ = p.Stat(), p.Holders()
		if p.QueryRow(ctx, "select 1").Scan(new(int)) == nil {
			uses.Add(1)
		}
		time.Sleep(time.Millisecond)
	}}
	p = newPoolAt(t, things(t), &pool.Config{MaxConns: 2, Observers: []any{w}, Logger: slog.New(slog.DiscardHandler)})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 10 {
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				scoped, scope := p.OpenScope(ctx, "r", time.Time{})
				assert.NoError(t, p.QueryRow(scoped, pointRead, i+1).Scan(new(string)))
				assert.NoError(t, dropped(p.Exec(scoped, "set work_mem = '9MB'"))) // a reset follows
				_, err := p.Acquire(scoped)                                        // a leak
				assert.NoError(t, err)
				short, end := context.WithTimeout(ctx, 5*time.Millisecond)
				_, _ = p.Exec(short, "select pg_sleep(1)") // a cancel
				end()
				scope.End()
				cancel()
			}
		})
	}
	wg.Wait()
	require.NoError(t, p.Shutdown(bounded(t)))
	assert.Positive(t, uses.Load())
	for _, told := range []int{len(all[observe.Leak](w)), len(all[observe.Reset](w)), len(all[observe.Cancel](w)), len(all[observe.Dial](w))} {
		assert.Positive(t, told)
	}
}

// TestStormOfEvents holds the events against the pool's counters and against what its callers did.
func TestStormOfEvents(t *testing.T) {
	t.Parallel()
	w := &eyes{}
	p := newPoolAt(t, things(t), &pool.Config{MaxConns: 3, MaxQueue: 40, Observers: []any{w}, Logger: slog.New(slog.DiscardHandler)})
	p.NeverOld()
	const callers, each = 48, 60
	var mu sync.Mutex
	calls := map[string]int{} // by name: what callers did, and what they got
	count := func(what string, err error) {
		mu.Lock()
		defer mu.Unlock()
		calls[what]++
		var e *pool.AcquireError
		if errors.As(err, &e) {
			calls["not acquired"]++
		}
	}
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 7))
			for range each {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(2+random.IntN(4000))*time.Millisecond)
				scoped, scope := p.OpenScope(ctx, fmt.Sprint(i), time.Time{})
				var s string
				switch random.IntN(12) {
				case 0:
					count("statement", dropped(p.Exec(scoped, "update things set name = name where id = $1", random.IntN(100)+1)))
				case 1:
					_, err := p.Acquire(scoped) // and forgets it
					count("lease", err)
				case 2:
					count("transaction", pool.InTx(scoped, p, pool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
						return dropped(tx.Exec(ctx, "set local work_mem = '9MB'"))
					}))
				case 3:
					count("statement", dropped(p.Exec(scoped, "set timezone = 'Asia/Tokyo'")))
				case 4:
					short, end := context.WithTimeout(scoped, 5*time.Millisecond)
					count("statement", dropped(p.Exec(short, "select pg_sleep(0.05)")))
					end()
				case 5:
					rows, err := p.Query(scoped, pointRead, 1)
					count("query", err)
					if random.IntN(2) == 0 {
						rows.Close()
					}
				default:
					count("statement", p.QueryRow(scoped, pointRead, random.IntN(100)+1).Scan(&s))
				}
				scope.End()
				cancel()
			}
		})
	}
	wg.Wait()
	eventually(t, "the pool is at rest", func() bool {
		s := p.Stat()
		return s.AcquiredConns() == 0 && s.ConstructingConns() == 0 && s.IdleConns() == s.TotalConns()
	})
	p.Close()

	stat, outcomes, by, reads, errs := p.Stat(), map[observe.Outcome]int{}, map[string]int{}, 0, 0
	acquires := all[observe.Acquire](w)
	for _, a := range acquires {
		outcomes[a.Outcome]++
		by[a.For]++
		require.False(t, a.End.Before(a.Start), "%+v", a)
		require.Equal(t, a.Outcome == observe.Got || a.Outcome == observe.Rode, a.Err == nil, "%+v", a)
		require.NotEmpty(t, a.RequestID)
		if a.Err != nil && a.Outcome != observe.Ended && a.Outcome != observe.Closed {
			errs++
		}
	}
	for _, what := range []string{"lease", "query", "transaction"} {
		assert.Equal(t, calls[what], by[what], "each call has one acquire: %s", what)
	}
	assert.GreaterOrEqual(t, by["statement"], calls["statement"])
	assert.Equal(t, calls["not acquired"], errs, "what callers were told is what the events say")
	for _, f := range all[observe.Flight](w) {
		reads += f.Reads
	}
	lanes := stat.Lanes()
	assert.EqualValues(t, lanes.Rides, reads)
	assert.Len(t, all[observe.Flight](w), int(lanes.Flights))
	assert.Positive(t, reads)
	rode, running := 0, map[string]int{}
	for _, s := range all[observe.Statement](w) {
		if s.Rode {
			rode++
		}
		require.False(t, s.Start.Before(s.Asked) || s.End.Before(s.Start), "%+v", s)
		require.Positive(t, s.Tries)
		require.Equal(t, s.Alone == "", s.Rode, "%+v", s)
		running[s.Alone]++
	}
	assert.GreaterOrEqual(t, reads, rode)
	assert.GreaterOrEqual(t, outcomes[observe.Rode], 1)
	for why, n := range lanes.Alone {
		assert.GreaterOrEqual(t, n, int64(running[why]), "alone because of %s", why)
	}
	dials, failed := 0, 0
	for _, d := range all[observe.Dial](w) {
		if d.Err == nil {
			dials++
		} else {
			failed++
		}
	}
	assert.EqualValues(t, stat.NewConnsCount(), dials)
	assert.EqualValues(t, stat.Dials().Failed, failed)
	assert.Len(t, all[observe.Reset](w), int(stat.Invocations().Resets))
	assert.Len(t, all[observe.Leak](w), int(stat.Invocations().Leaks))
	assert.Positive(t, stat.Invocations().Leaks)
	assert.InDelta(t, stat.RefusedCount(), len(all[observe.Refusal](w)), float64(outcomes[observe.Canceled]+outcomes[observe.Ended]), "a caller may leave at the moment it is refused")
	assert.GreaterOrEqual(t, int64(outcomes[observe.Canceled]+outcomes[observe.Ended])+lanes.Reruns, stat.CanceledAcquireCount())
	assert.Equal(t, len(all[observe.Refusal](w)), outcomes[observe.Refused])
	lost := 0
	for _, c := range all[observe.Cancel](w) {
		if c.Lost {
			lost++
		}
	}
	assert.EqualValues(t, stat.Cancels().Lost, lost)
	assert.NotEmpty(t, all[observe.Cancel](w))
	assert.Equal(t, outcomes[observe.Got], givenBack(w), "each lease that was got came back")
	limit := 1
	for _, l := range all[observe.Limit](w) {
		assert.NotEqual(t, l.From, l.To)
		limit = l.To
	}
	assert.LessOrEqual(t, limit, 3)
	assert.Len(t, all[observe.Shutdown](w), 1)
}

// givenBack is how many leases were given back.
func givenBack(w *eyes) (n int) {
	for _, r := range all[observe.Release](w) {
		if r.For != "lane" {
			n++
		}
	}
	return n
}

func dropped[A any](_ A, err error) error { return err }

// blind is an observer of everything that does nothing.
type blind struct{}

func (blind) ObserveAcquire(context.Context, observe.Acquire)       {}
func (blind) ObserveRelease(context.Context, observe.Release)       {}
func (blind) ObserveStatement(context.Context, observe.Statement)   {}
func (blind) ObserveInvocation(context.Context, observe.Invocation) {}
func (blind) ObserveFlight(context.Context, observe.Flight)         {}
func (blind) ObserveDial(context.Context, observe.Dial)             {}
func (blind) ObserveReset(context.Context, observe.Reset)           {}
func (blind) ObserveCancel(context.Context, observe.Cancel)         {}
func (blind) ObserveLimit(context.Context, observe.Limit)           {}
func (blind) ObserveRefused(context.Context, observe.Refusal)       {}
func (blind) ObserveLeak(context.Context, observe.Leak)             {}
func (blind) ObservePanic(context.Context, observe.Panic)           {}
func (blind) ObserveFence(context.Context, observe.Fence)           {}
func (blind) ObserveShutdown(context.Context, observe.Shutdown)     {}

package pool_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/observe"
	"github.com/lmipool/lmipool/pool"
)

// endings hears of invocations.
type endings struct{ ended chan observe.Invocation }

func (a endings) ObserveInvocation(_ context.Context, e observe.Invocation) { a.ended <- e }

// An invocation has an account of all that it asked, and whoever hears of its end gets it.
func TestAnInvocationHasAnAccount(t *testing.T) {
	t.Parallel()
	ctx, heard := bounded(t), endings{make(chan observe.Invocation, 1)}
	p := newPoolAt(t, things(t), &pool.Config{MaxConns: 1, Observers: []any{heard}})
	assert.Equal(t, observe.Usage{}, pool.Usage(ctx), "outside a scope")
	ctx, scope := p.OpenScope(ctx, "request-1", time.Time{})
	assert.Equal(t, observe.Usage{}, pool.Usage(ctx))
	_, err := p.Exec(ctx, "update things set name = 'secret' where id <= 7")
	require.NoError(t, err)
	assert.Positive(t, pool.Usage(ctx).Waited, "for the first dial")
	for range 9 {
		require.NoError(t, p.QueryRow(ctx, pointRead, 1).Scan(new(string)))
	}
	require.NoError(t, pool.InTx(ctx, p, pool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "select pg_sleep(0.2)")
		time.Sleep(300 * time.Millisecond) // says that long, at least
		s, beginErr := tx.Begin(ctx)
		require.NoError(t, beginErr)
		_, sleepErr := s.Exec(ctx, "select pg_sleep(0.1)")
		require.NoError(t, sleepErr)
		require.NoError(t, s.Commit(ctx))
		return err
	}))
	u := pool.Usage(ctx)
	assert.Equal(t, 12, u.Statements)
	assert.EqualValues(t, 7+9+2, u.Rows)
	assert.Zero(t, u.Rides)
	assert.GreaterOrEqual(t, u.Ran, 300*time.Millisecond)
	assert.GreaterOrEqual(t, u.IdleInTx, 300*time.Millisecond)
	assert.Less(t, u.IdleInTx, 300*time.Millisecond+u.Ran, "what ran, in a savepoint too, was not idle")
	assert.Equal(t, 9, u.Repeated)
	assert.Equal(t, pointRead, u.RepeatText)
	assert.GreaterOrEqual(t, u.Longest, 200*time.Millisecond)
	assert.Contains(t, u.LongestText, "?")
	scope.End()
	e := <-heard.ended
	assert.Equal(t, "request-1", e.RequestID)
	assert.Equal(t, u, e.Usage)
	assert.False(t, e.End.Before(e.Start.Add(u.Longest)))
}

// Rides count as rides, and as statements.
func TestAnAccountCountsRides(t *testing.T) {
	t.Parallel()
	p := newPoolAt(t, things(t), &pool.Config{MaxConns: 1})
	p.NeverSlow()
	p.NeverOld()
	ctx, scope := p.OpenScope(bounded(t), "r", time.Time{})
	defer scope.End()
	eventually(t, "rides", func() bool {
		done := make(chan error)
		for range 16 {
			go func() { done <- p.QueryRow(ctx, pointRead, 1).Scan(new(string)) }()
		}
		for range 16 {
			require.NoError(t, <-done)
		}
		return p.Stat().Lanes().Rides > 20
	})
	u := pool.Usage(ctx)
	assert.EqualValues(t, p.Stat().Lanes().Rides-p.Stat().Lanes().Reruns, u.Rides)
	assert.EqualValues(t, u.Statements, u.Rows)
	assert.Positive(t, u.Waited)
}

// A slow statement, an invocation that was slow as a whole, and one that repeats a statement each have a line, without their literals.
func TestWhatIsSlowIsLogged(t *testing.T) {
	t.Parallel()
	log := &logs{}
	p := newPoolAt(t, things(t), &pool.Config{MaxConns: 1, ReportSlowAfter: 400 * time.Millisecond, Logger: log.logger()})
	invocation := func(name string, f func(ctx context.Context)) []string {
		ctx, scope := p.OpenScope(bounded(t), name, time.Time{})
		before := len(log.lines())
		f(ctx)
		scope.End()
		return log.lines()[before:]
	}
	sleeps := func(ctx context.Context, sql string) {
		_, err := p.Exec(ctx, sql)
		require.NoError(t, err)
	}
	lines := invocation("request-slow", func(ctx context.Context) { sleeps(ctx, "select pg_sleep(0.5), 'secret'") })
	require.Len(t, lines, 2)
	for _, has := range []string{"a statement was slow", "requestId=request-slow", "select pg_sleep(?), ?", "waited_ms", "ran_ms", "alone=new", "usage_test.go", "count=1"} {
		assert.Contains(t, lines[0], has)
	}
	for _, has := range []string{"an invocation was slow in the database", "requestId=request-slow", "statements=1", "longest_text=select pg_sleep(?), ?"} {
		assert.Contains(t, lines[1], has)
	}
	lines = invocation("request-many", func(ctx context.Context) {
		for range 6 {
			sleeps(ctx, "select pg_sleep(0.1) as one_of_many")
		}
	})
	require.NotEmpty(t, lines)
	assert.Contains(t, lines[len(lines)-1], "an invocation was slow in the database")
	assert.Contains(t, lines[len(lines)-1], "repeated=6")
	for range 10 { // the same place and the same text
		lines = invocation("request-again", func(ctx context.Context) { sleeps(ctx, "select pg_sleep(0.5), 'secret'") })
	}
	assert.Empty(t, lines, "one line a minute")
	for _, line := range log.lines() {
		assert.NotContains(t, line, "secret")
	}

	q := newPoolAt(t, things(t), &pool.Config{MaxConns: 1, ReportSlowAfter: time.Hour, Logger: log.logger()})
	before := len(log.lines())
	ctx, scope := q.OpenScope(bounded(t), "request-n+1", time.Time{})
	for i := range 60 {
		require.NoError(t, q.QueryRow(ctx, pointRead, i+1).Scan(new(string)))
	}
	scope.End()
	lines = log.lines()[before:]
	require.Len(t, lines, 1)
	for _, has := range []string{"again and again", "request-n+1", "repeated=60", "repeated_text=" + pointRead, "statements=60", "repeated_at=[", "usage_test.go"} {
		assert.Contains(t, lines[0], has)
	}
}

// With -1 nothing is slow.
func TestNothingIsSlowIfNobodyWantsToKnow(t *testing.T) {
	t.Parallel()
	log := &logs{}
	p := newPoolAt(t, things(t), &pool.Config{MaxConns: 1, ReportSlowAfter: -1, Logger: log.logger()})
	ctx, scope := p.OpenScope(bounded(t), "r", time.Time{})
	for i := range 60 {
		require.NoError(t, p.QueryRow(ctx, pointRead, i+1).Scan(new(string)))
	}
	_, err := p.Exec(ctx, "select pg_sleep(1.1)")
	require.NoError(t, err)
	scope.End()
	assert.NotContains(t, strings.Join(log.lines(), "\n"), "slow")
}

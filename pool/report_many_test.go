package pool_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/gostack"
	"github.com/lmipool/lmipool/pool"
)

// byWay calls do by way of more other functions, which the digits of i choose. Each T has a function of its own, so there are many places that do is called from.
func byWay[T any](i, more int, do func()) {
	if more == 0 {
		do()
		return
	}
	byWays[i%5](i/5, more-1, do)
}

var byWays [5]func(i, more int, do func())

func init() {
	byWays = [5]func(int, int, func()){byWay[[1]byte], byWay[[2]byte], byWay[[3]byte], byWay[[4]byte], byWay[[5]byte]}
}

var ofCount = regexp.MustCompile(` count=(\d+)`)

// Many mistakes at one place are one line a minute, and at many places a hundred and one, whatever the mistake is.
func TestManyMistakesMakeFewLines(t *testing.T) {
	t.Parallel()
	log := &logs{}
	p := newPoolAt(t, things(t), &pool.Config{MaxConns: 2, ReportSlowAfter: time.Nanosecond, Logger: log.logger()})
	ended, scope := p.OpenScope(bounded(t), "ended", time.Time{})
	scope.End()
	ran := func(ctx context.Context, text string) {
		_, err := p.Exec(ctx, text)
		require.NoError(t, err)
	}
	for says, mistake := range map[string]func(at func(func()), text string){
		"still held": func(at func(func()), _ string) {
			ctx, scope := p.OpenScope(bounded(t), "r", time.Time{})
			at(func() { _, _ = p.Acquire(ctx) })
			scope.End()
		},
		"a goroutine used the pool after": func(at func(func()), text string) {
			at(func() { _, _ = p.Exec(ended, text) })
		},
		"a statement was slow": func(at func(func()), text string) {
			at(func() { ran(context.Background(), text) })
		},
		"an invocation was slow": func(_ func(func()), text string) {
			ctx, scope := p.OpenScope(bounded(t), "r", time.Time{})
			ran(ctx, text)
			scope.End()
		},
	} {
		for _, n := range []int{1, 200} {
			before, said := len(log.with(says)), 0
			for i := range 200 {
				mistake(func(do func()) { byWays[0](i%n, 3, do) }, fmt.Sprint("select 1 as n", i%n))
			}
			lines := log.with(says)[before:]
			for _, line := range lines {
				count, err := strconv.Atoi(ofCount.FindStringSubmatch(line)[1])
				require.NoError(t, err)
				said += count
			}
			if n == 1 {
				assert.Equal(t, []int{1, 1}, []int{len(lines), said}, "%s: the first at once, and the others in a minute", says)
			} else {
				assert.InDelta(t, 96, len(lines), 5, "%s: about 99 more places, and one line for all others", says)
			}
		}
	}
}

// A statement that had to wait for a slow one is told as that, with the slow one, and the place of a repeated statement is in its line.
func TestWhoWaitsForASlowStatementIsNotCalledSlow(t *testing.T) {
	t.Parallel()
	log := &logs{}
	p := newPool(t, &pool.Config{MaxConns: 1, ReportSlowAfter: 300 * time.Millisecond, Logger: log.logger()})
	done := make(chan error)
	go func() {
		_, err := p.Exec(context.Background(), "select pg_sleep(0.6), 'secret'")
		done <- err
	}()
	eventually(t, "it runs", func() bool { return p.Stat().AcquiredConns() == 1 })
	_, err := p.Exec(bounded(t), "set work_mem = '1MB'")
	require.NoError(t, err)
	require.NoError(t, ends(t, "the slow one", done))
	assert.Len(t, log.with("a statement was slow"), 1)
	waited := log.with("a statement had to wait long for a connection")
	require.Len(t, waited, 1)
	assert.Regexp(t, `connection waited_ms=\S+ behind=\[doing=select pg_sleep\(\?\), \? used_at=\[\S+report_many_test.*\]\] .*doing=set work_mem = \? ran_ms=.* used_at=\[\S+report_many_test`, waited[0])
}

// A handler that overran is not told to use Detach.
func TestAHandlerThatRunsOnIsToldToReturn(t *testing.T) {
	t.Parallel()
	log := &logs{}
	p := newPool(t, &pool.Config{Logger: log.logger()})
	ctx, scope := p.OpenScope(bounded(t), "r", time.Time{})
	scope.End()
	var mark gostack.Mark
	mark.Run(func() {
		_, err := p.Exec(ctx, "select 1")
		assert.ErrorIs(t, err, pool.ErrInvocationEnded)
	})
	require.Len(t, log.with("a handler used the pool after its invocation had ended"), 1)
	assert.Empty(t, log.with("Detach"))
	done := make(chan error)
	mark.Run(func() {
		go func() {
			_, err := p.Exec(ctx, "select 1")
			done <- err
		}()
	})
	require.ErrorIs(t, ends(t, "the goroutine", done), pool.ErrInvocationEnded)
	assert.Len(t, log.with("Detach"), 1)
}

// Dials that fail alike make one line a minute, also if others succeed between them.
func TestDialsThatFailAlikeMakeOneLine(t *testing.T) {
	t.Parallel()
	log, dials := &logs{}, atomic.Int64{}
	p := newPool(t, &pool.Config{Logger: log.logger(), BeforeConnect: func(context.Context, *pgx.ConnConfig) error {
		if dials.Add(1)%2 == 1 {
			return errors.New("no")
		}
		return nil
	}})
	eventually(t, "every second dial fails", func() bool {
		_, _ = p.Exec(bounded(t), "select 1")
		p.Reset()
		return p.Stat().Dials().Failed >= 4 && p.Stat().NewConnsCount() >= 4
	})
	assert.Len(t, log.with("dial failed"), 1)
	assert.Contains(t, log.with("dial failed")[0], "count=1")
}

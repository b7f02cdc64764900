package pool_test

import (
	"context"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/netfault"
	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// newFarLab is a laneLab whose connections go through a proxy.
func newFarLab(t testing.TB, c *pool.Config) (*laneLab, *netfault.Proxy) {
	t.Helper()
	if c == nil {
		c = &pool.Config{}
	}
	c.MaxConns = 1
	dsn := pgtest.Database(t)
	u, err := url.Parse(dsn)
	require.NoError(t, err)
	proxy, err := netfault.Listen(u.Host)
	require.NoError(t, err)
	t.Cleanup(proxy.Close)
	u.Host = proxy.Addr()
	b := &laneLab{t: t, p: newPoolAt(t, u.String(), c), dsn: dsn, see: newInspector(t, dsn)}
	b.p.NeverSlow()
	return b, proxy
}

// One of them kills the backend. The others had no effect, so they run again; it
// too, once, and gets the error.
func TestReadsWhoseConnectionIsLostRunAgain(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	log := &logs{}
	b := newLaneLab(t, &pool.Config{LaneFunctions: []string{"kills"}, Logger: log.logger()})
	b.exec(`create function kills(bool) returns text language plpgsql as
		$$ begin if $1 then perform pg_terminate_backend(pg_backend_pid()); perform pg_sleep(1); end if; return 'alive'; end $$`)
	b.teach(ctx, "select 40 + $1::int", 2)
	b.teach(ctx, "select kills($1)", false)
	b.together(ctx, b.company(ctx), b.company(ctx), func() {
		err := b.scan(ctx, new(string), "select kills($1)", true)
		assert.Error(t, err)
		assert.True(t, pool.OutcomeUnknown(err), "%v", err)
	}, b.company(ctx), b.company(ctx))
	s := b.p.Stat()
	assert.EqualValues(t, 5, s.Lanes().Rides)
	assert.EqualValues(t, 3, s.Lanes().Reruns, "who had an answer keeps it")
	assert.Contains(t, strings.Join(log.lines(), "\n"), "was lost")
}

func TestRerunOffMakesALostConnectionAnError(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b, proxy := newFarLab(t, &pool.Config{Rerun: pool.Off})
	b.teach(ctx, "select 40 + $1::int", 2)
	proxy.SetRoundTrip(300 * time.Millisecond)
	lost := func() {
		err := b.scan(ctx, new(int), "select 40 + $1::int", 2)
		assert.ErrorContains(t, err, "the connection was lost")
		assert.True(t, pool.OutcomeUnknown(err), "%v", err)
	}
	go func() {
		for b.p.Stat().Lanes().Flights == 0 {
			time.Sleep(time.Millisecond)
		}
		proxy.Cut()
		proxy.SetRoundTrip(0)
	}()
	b.together(ctx, lost, lost)
	assert.Zero(t, b.p.Stat().Lanes().Reruns)
}

// A caller who leaves in flight is free at once; the lane reads his answer and drops
// it, and the others get theirs.
func TestACancelInFlightFreesTheCallerAndNobodyElse(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b, proxy := newFarLab(t, nil)
	b.teach(ctx, "select 40 + $1::int", 2)
	proxy.SetRoundTrip(400 * time.Millisecond)
	leave, cancel := context.WithCancel(ctx)
	invocation, scope := b.p.OpenScope(ctx, "ends", time.Time{})
	left := func(ctx context.Context, want error) func() {
		return func() {
			err := b.scan(ctx, new(int), "select 40 + $1::int", 2)
			assert.ErrorIs(t, err, want)
			assert.Zero(t, b.p.Stat().Queued()+int32(b.p.Stat().Lanes().Reruns))
			assert.EqualValues(t, 1, b.p.Stat().AcquiredConns(), "the flight is still under way")
		}
	}
	go func() {
		for b.p.Stat().Lanes().Flights == 0 {
			time.Sleep(time.Millisecond)
		}
		cancel()
		scope.End()
	}()
	b.together(ctx, b.company(ctx), left(leave, context.Canceled), b.company(ctx), left(invocation, pool.ErrInvocationEnded), b.company(ctx))
	assert.EqualValues(t, 1, b.p.Stat().NewConnsCount(), "the connection lives")
	assert.Zero(t, b.p.Stat().Cancels().Requests, "it would hit a neighbour")
	assert.EqualValues(t, 5, b.p.Stat().Lanes().Rides)
}

// A network that has gone silent does not hold a flight for ever.
func TestASilentLaneIsGivenUp(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b, proxy := newFarLab(t, nil)
	b.teach(ctx, "select 40 + $1::int", 2)
	release := b.hold(ctx)
	done := make(chan struct{})
	for range 2 {
		go func() {
			b.company(ctx)()
			done <- struct{}{}
		}()
	}
	eventually(t, "both queue", func() bool { return b.p.Stat().Queued() == 2 })
	proxy.Stall(true)
	release()
	time.AfterFunc(500*time.Millisecond, func() { proxy.Reset(); proxy.Stall(false) })
	<-done
	<-done
	assert.EqualValues(t, 2, b.p.Stat().Lanes().Reruns)
}

// Shutdown does not wait for a flight longer than it may, and its riders hear of it.
func TestShutdownEndsAFlight(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b, proxy := newFarLab(t, nil)
	b.teach(ctx, "select 40 + $1::int", 2)
	proxy.SetRoundTrip(2 * time.Second)
	go func() {
		for b.p.Stat().Lanes().Flights == 0 {
			time.Sleep(time.Millisecond)
		}
		short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		assert.Error(t, b.p.Shutdown(short))
	}()
	gone := func() { assert.ErrorIs(t, b.scan(ctx, new(int), "select 40 + $1::int", 2), pool.ErrClosed) }
	b.together(ctx, gone, gone)
}

package pool_test

import (
	"fmt"
	"math/rand/v2"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lmipool/lmipool/internal/netfault"
	"github.com/lmipool/lmipool/internal/pgtest"
)

// faults is a storm of faults: one database behind a bad network, a pool that lives through
// it, and others that come and go meanwhile.
type faults struct {
	t     *testing.T
	mode  string
	conns int32
	seed  uint64
	nth   uint64 // of the storms of this seed
	lasts time.Duration

	dsn     string
	clean   string // what a session that nobody has touched answers to who asks for its settings
	see     *inspector
	proxy   *netfault.Proxy
	ways    []way
	ids     atomic.Int64
	visits  atomic.Int64
	stop    chan struct{}  // closed when it is over
	weather map[string]int // how often it did what
	b       *claims
}

const (
	simpleProtocol = "simple_protocol"
	execMode       = "exec"
)

const (
	stormCallers = 16
	// stormPatience is how long callers wait who have time: beyond the end of every fault, and of the test.
	stormPatience = time.Minute
	// tooLate is how long after its deadline nobody comes back, however busy the machine is.
	tooLate = 10 * time.Second
)

// faultsLast is how long each storm of faults lasts at least: see raged.
func faultsLast(t *testing.T) time.Duration {
	least := 500 * time.Millisecond
	if testing.Short() {
		least = 200 * time.Millisecond
	}
	return envDuration(t, "LMIPOOL_TEST_FAULTS", least)
}

// Invariants 1 to 5, and what errors promise, however a statement is sent and whatever the network does to it: what was
// acknowledged has happened once, what is unknown once or never, nothing else has happened; every answer is its caller's.
// Not parallel: goleak sees every goroutine of the process.
func TestStormOfFaults(t *testing.T) {
	lasts, seed := faultsLast(t), envSeed(t)
	var storms []*faults
	for _, mode := range []string{"cache_statement", "cache_describe", execMode, simpleProtocol} {
		for _, conns := range []int32{1, 4} {
			storms = append(storms, &faults{mode: mode, conns: conns, seed: seed, nth: uint64(len(storms)), lasts: lasts, b: newClaims()})
		}
	}
	pgtest.Database(t) // the server has a goroutine
	ignore := goleak.IgnoreCurrent()
	t.Run("storm", func(t *testing.T) {
		for _, f := range storms {
			t.Run(fmt.Sprintf("%s on %d", f.mode, f.conns), f.rage)
		}
	})
	goleak.VerifyNone(t, ignore)
	sum := newClaims()
	for _, f := range storms {
		sum.add(f.b)
	}
	t.Log(sum)
}

// rng is the chance of one goroutine.
func (f *faults) rng(who int) *rand.Rand { return rand.New(rand.NewPCG(f.seed, f.nth<<32+uint64(who))) }

// over reports whether the storm is.
func (f *faults) over() bool {
	select {
	case <-f.stop:
		return true
	default:
		return false
	}
}

// rage runs the storm, and looks at what it has left behind.
func (f *faults) rage(t *testing.T) {
	t.Parallel()
	f.t, f.stop, f.weather = t, make(chan struct{}), make(map[string]int)
	f.dsn = pgtest.Database(t)
	f.see, f.proxy = newInspector(t, f.dsn), newProxy(t, f.dsn)
	f.ways = stormWays()
	f.see.exec("create table t (id bigint not null, way text not null, tenant text not null default coalesce(current_setting('app.tenant', true), ''))")
	require.NoError(t, f.see.c.QueryRow(bounded(t), "select "+stormSettingsOf).Scan(&f.clean))
	main := f.open(f.conns)
	require.NoError(t, main.Ping(bounded(t)))

	var wg sync.WaitGroup
	for i := range stormCallers {
		wg.Go(func() {
			for r := f.rng(i); !f.over(); f.pause(r, 4*time.Millisecond) {
				f.turn(main.Pool, r)
			}
		})
	}
	wg.Go(func() { f.visitor(f.rng(stormCallers)) })
	f.rain(f.rng(stormCallers+1), main)
	f.ends("everybody is back", wg.Wait)

	assert.NoError(t, main.Ping(bounded(t)))
	eventually(t, "the pool is idle and whole", func() bool {
		s := main.Stat()
		return s.AcquiredConns() == 0 && s.Queued() == 0 && s.ConstructingConns() == 0 && s.Cancels().Conns == 0 && s.TotalConns() == s.IdleConns()
	})
	f.ends("the pool is closed", main.close)
	eventually(t, "no backend is left", func() bool { return f.see.backends() == 0 })
	f.b.audit(f.rows())
	f.b.report(t.Errorf)
	s := main.Stat()
	t.Logf("%v; %v; %d visits; rides %d in %d flights, resets %d, connections %d, reruns %d, cancels %d",
		f.b.counts, f.weather, f.visits.Load(), s.Lanes().Rides, s.Lanes().Flights, s.Invocations().Resets, s.NewConnsCount(), s.Lanes().Reruns, s.Cancels().Requests)
	assert.True(t, f.raged(main), "it was a storm")
}

// raged reports whether it was a storm.
func (f *faults) raged(main *victim) bool {
	f.b.mu.Lock()
	defer f.b.mu.Unlock()
	s := main.Stat()
	return f.b.counts[fateAcknowledged] >= 50 && f.b.counts[unknown] > 0 && f.b.counts[retryable] > 0 &&
		s.NewConnsCount() > int64(f.conns) && (s.Lanes().Rides > 0 || f.mode != "cache_statement")
}

// ends runs what must come to its end, and says who is in the way if it does not.
func (f *faults) ends(what string, wait func()) {
	f.t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); wait() }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		var all strings.Builder
		_ = pprof.Lookup("goroutine").WriteTo(&all, 1)
		f.b.report(f.t.Errorf)
		require.Fail(f.t, "it takes too long: "+what, all.String())
	}
}

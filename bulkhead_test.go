package lmipool_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/lmitest"
)

// rounds is how often the storm comes: STORM_ROUNDS=20 is the long form.
func rounds() int {
	if n, err := strconv.Atoi(os.Getenv("STORM_ROUNDS")); err == nil {
		return n
	}
	return 2
}

// holds are what overrunning handlers hold, of 16: the pool has 16 connections, and
// the neighbours need some.
var holds = []string{"lease", "transaction", "rows", "conn", "statement", 15: ""}

// loadMachine keeps n cores busy until the test ends, with processes of their own:
// the emulator's goroutines are not to starve among busy ones.
func loadMachine(t *testing.T, n int) {
	for range n {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), spin+"=1")
		until, err := cmd.StdinPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		t.Cleanup(func() { until.Close(); cmd.Wait() })
	}
}

const spin = "SPIN_UNTIL_STDIN_ENDS"

func spinUntilStdinEnds() {
	var stop atomic.Bool
	go func() { io.Copy(io.Discard, os.Stdin); stop.Store(true) }()
	for n := 0; !stop.Load(); n++ {
		_ = strconv.Itoa(n)
	}
	os.Exit(0)
}

// stormed is what came of a storm.
type stormed struct {
	standIns, right atomic.Int64
	slowest         atomic.Int64 // of the overruns, in nanoseconds
	mu              sync.Mutex
	wrong           []string // replies that should not be
}

func (s *stormed) not(what string, n int, r *lmitest.Reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrong = append(s.wrong, fmt.Sprintf("%s %d: %+v %s", what, n, r.Error, r.Payload))
}

// ask is ask, but an invocation that finds no process, since it has ended, is a wrong reply: the caller decides whether it had a reason to end.
func (s *stormed) ask(ctx context.Context, t *testing.T, f *lmitest.Function, in task) (*lmitest.Reply, outcome) {
	r, o, err := tryAsk[outcome](ctx, t, f, in)
	if err != nil {
		return &lmitest.Reply{Error: &lmitest.FunctionError{Type: "not invoked", Message: err.Error()}}, o
	}
	return r, o
}

// storm has 32 handlers overrun by one to two seconds, while 32 neighbours ask and ask.
func storm(ctx context.Context, t *testing.T, f *lmitest.Function, timeout time.Duration) *stormed {
	t.Helper()
	s := &stormed{}
	var overrunning, neighbours sync.WaitGroup
	for i := range 32 {
		overrunning.Go(func() {
			r, _ := s.ask(ctx, t, f, task{Do: "overrun", Hold: holds[i%16], For: timeout + time.Second + time.Duration(i)*30*time.Millisecond})
			if r.Error == nil || r.Error.Type != "OverrunError" {
				s.not("overrun", i, r)
				return
			}
			s.standIns.Add(1)
			for old := s.slowest.Load(); int64(r.Duration) > old && !s.slowest.CompareAndSwap(old, int64(r.Duration)); old = s.slowest.Load() {
			}
		})
	}
	over := make(chan struct{})
	for i := range 32 {
		neighbours.Go(func() {
			for n := i; ; n += 32 {
				r, o := s.ask(ctx, t, f, task{Do: "answer", N: n, For: 200 * time.Millisecond})
				if r.Error == nil && o.N == 2*n {
					s.right.Add(1)
				} else {
					s.not("answer", n, r)
				}
				select {
				case <-over:
					return
				default:
				}
			}
		})
	}
	overrunning.Wait()
	close(over)
	neighbours.Wait()
	return s
}

// latenessBound is how late things may be with timeouts of 6 s and no reply be late: Handler
// takes four times what it measures, and at most a third of the time.
const latenessBound = 500 * time.Millisecond

// lateness is what a child says that it measured when a reply was late.
var lateness = regexp.MustCompile(`not sent by its deadline.* lateness=(\S+)`)

// The test loads the machine itself, and is not parallel: the other tests' children would
// come on top of it. STORM_BUSY busy processes more are the long form's.
func TestHalfOfTheInvocationsOverrunAndTheOthersDoNotNotice(t *testing.T) {
	const timeout = 6 * time.Second // so the replies go out half a second before, or more
	busy, _ := strconv.Atoi(os.Getenv("STORM_BUSY"))
	loadMachine(t, 2+busy)
	ctx := boundedBy(t, time.Duration(30+30*rounds())*time.Second)
	f, stderr := functionWith(t, lmitest.Config{Timeout: timeout, Env: []string{"CHILD=bulkhead", "LMIPOOL_MAX_OVERRUNS=64"}})
	var s outcome
	for round := range rounds() {
		storm := storm(ctx, t, f, timeout)
		if late := f.Stats().LateReplies; late > 0 {
			// The process has ended. That is no fault if it measured that it was too late to do better.
			said := lateness.FindStringSubmatch(stderr())
			require.NotNil(t, said, "%d late replies, and the process has noticed none", late)
			measured, err := time.ParseDuration(said[1])
			require.NoError(t, err)
			require.Greater(t, measured, latenessBound, "%d late replies, though the process did not measure that things were so late", late)
			t.Logf("round %d: %d late replies; the measured lateness was %s, the bound is %s", round+1, late, measured, latenessBound)
			t.Skip("the machine is too busy")
		}
		require.Empty(t, storm.wrong)
		require.EqualValues(t, 32, storm.standIns.Load())
		began := time.Now()
		require.Eventually(t, func() bool {
			_, s = ask[outcome](ctx, t, f, task{Do: "state"})
			return s.Acquired == 0 && s.Queued == 0 && s.Total == s.Idle
		}, 10*time.Second, time.Millisecond, "the pool is whole")
		whole := time.Since(began)
		require.Eventually(t, func() bool {
			_, s = ask[outcome](ctx, t, f, task{Do: "state"})
			return s.Handlers.Overrunning == 0
		}, 20*time.Second, 10*time.Millisecond, "those that overran have returned")
		assert.EqualValues(t, 32*(round+1), s.Handlers.Overruns)
		t.Logf("round %d: 32 overruns, %d right answers beside them, slowest stand-in after %s of %s, pool whole %s later; measured lateness %s",
			round+1, storm.right.Load(), time.Duration(storm.slowest.Load()).Round(time.Millisecond), timeout, whole.Round(time.Millisecond), s.Lateness.Round(time.Microsecond))
	}
	// One use of the pool by each, and one more by those that held something.
	assert.EqualValues(t, rounds()*(32+8), s.Ended, "uses of the pool after the reply")
	assert.Zero(t, s.NotEnded)
	stats := f.Stats()
	assert.Zero(t, stats.LateReplies)
	if late := s.Lateness; late <= latenessBound {
		assert.Zero(t, s.Handlers.LateReplies) // the process measures from outside the loop: beyond the bound it counts some that were in time
	}
	assert.Zero(t, stats.Timeouts)
	assert.Zero(t, stats.Exits)
	assert.Equal(t, 1, stats.Starts)
	assert.Contains(t, stderr(), "bulkheadChild).overrun", "the stack of a handler that overran")
	t.Logf("%d invocations, %d late replies, %d timeouts, %d exits", stats.Invocations, stats.LateReplies, stats.Timeouts, stats.Exits)
}

func TestWithoutTheStandInTheSameStormEndsTheProcess(t *testing.T) {
	t.Parallel()
	const timeout = time.Second
	ctx := bounded(t)
	f, _ := functionWith(t, lmitest.Config{Timeout: timeout, Env: []string{"CHILD=bulkhead", "LMIPOOL_MAX_OVERRUNS=64", "LMIPOOL_STAND_IN=off"}})
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			r, _ := ask[outcome](ctx, t, f, task{Do: "overrun", Hold: holds[i%16], For: 2 * timeout})
			if assert.NotNil(t, r.Error) {
				assert.Equal(t, lmitest.TypeTimedOut, r.Error.Type)
			}
		})
	}
	wg.Wait()
	require.NoError(t, f.Wait(ctx, func(s lmitest.Stats) bool { return s.Exits >= 1 }))
	s := f.Stats()
	assert.Positive(t, s.LateReplies)
	t.Logf("%d timeouts, %d late replies, %s", s.Timeouts, s.LateReplies, s.LastExit.State)
}

func TestTooManyOverrunsAtOnceEndTheProcessAndTheNextOneServes(t *testing.T) {
	t.Parallel()
	const timeout = 6 * time.Second
	ctx := bounded(t)
	f, stderr := functionWith(t, lmitest.Config{Timeout: timeout, Env: []string{"CHILD=bulkhead"}})
	var wg sync.WaitGroup
	for range 20 { // a quarter of 64 is 16
		wg.Go(func() {
			r, _ := ask[outcome](ctx, t, f, task{Do: "overrun", For: time.Hour, Together: 20})
			if assert.NotNil(t, r.Error) {
				assert.Equal(t, "OverrunError", r.Error.Type)
			}
		})
	}
	require.NoError(t, f.Wait(ctx, func(s lmitest.Stats) bool { return s.InFlight == 20 }))
	// These run when it stands down, and are finished.
	require.NoError(t, f.Wait(ctx, func(s lmitest.Stats) bool { return s.Idle == 44 }))
	for i := range 10 {
		wg.Go(func() {
			r, o := ask[outcome](ctx, t, f, task{Do: "answer", N: i, For: timeout * 7 / 10})
			assert.Nil(t, r.Error)
			assert.Equal(t, 2*i, o.N)
		})
	}
	wg.Wait()
	require.NoError(t, f.Wait(ctx, func(s lmitest.Stats) bool { return s.Exits == 1 && s.Ready == 1 }))
	assert.Equal(t, 1, strings.Count(stderr(), "lmipool: standing down: too many handlers overrun"))
	r, o := ask[outcome](ctx, t, f, task{Do: "answer", N: 21})
	assert.Nil(t, r.Error)
	assert.Equal(t, 42, o.N)
	assert.Zero(t, f.Stats().LateReplies)
	t.Logf("exit: %s; starts: %d", f.Stats().LastExit.State, f.Stats().Starts)
}

func TestTooManyPanicsEndTheProcessAndTheNextOneServes(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	f, stderr := function(t, "CHILD=bulkhead")
	var wg sync.WaitGroup
	for i := range 40 { // half of 64 is 32
		wg.Go(func() {
			do := task{Do: "panic", Hold: "string", Together: 40}
			if i < 4 { // these are finished
				do = task{Do: "answer", N: 21, Together: 40, For: 500 * time.Millisecond}
			}
			r, o := ask[outcome](ctx, t, f, do)
			if i < 4 {
				assert.Nil(t, r.Error)
				assert.Equal(t, 42, o.N)
				return
			}
			if assert.NotNil(t, r.Error) {
				assert.Equal(t, "boom", r.Error.Message)
			}
		})
	}
	wg.Wait()
	require.NoError(t, f.Wait(ctx, func(s lmitest.Stats) bool { return s.Exits == 1 && s.Ready == 1 }))
	assert.Equal(t, 1, strings.Count(stderr(), "lmipool: standing down: too many handlers panic"))
	_, o := ask[outcome](ctx, t, f, task{Do: "answer", N: 21})
	assert.Equal(t, 42, o.N)
}

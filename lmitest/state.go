package lmitest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Function is a handler under Lambda's rules: one or several environments, each a process that polls a
// Runtime API of its own. Its methods may be used concurrently.
type Function struct {
	config Config
	output sync.Mutex     // keeps writes of the processes' output apart
	wg     sync.WaitGroup // one goroutine per environment

	mu           sync.Mutex
	environments []*environment // the environments that have not ended yet
	waiting      []*invocation  // the invocations that no runtime has yet, oldest first; see dispatchLocked
	initError    error          // the first error of an init; only Start reads it
	closing      bool
	stats        Stats
	change       chan struct{} // closed at the next change; nil while nobody waits for one
}

// environment is one process and the Runtime API that it uses. The goroutine run owns both from start to end. A replacement is a new environment with
// the same slot and its own listener, so late requests of the old process cannot reach the new one.
type environment struct {
	f    *Function
	slot int
	// early is how many environments in a row, in this slot and just before this one, ended within longLife.
	early int

	stop    chan struct{} // closed to end the process
	polled  chan struct{} // closed when init is done
	failed  chan struct{} // closed when the runtime has reported that its init failed
	over    chan struct{} // closed when the process is gone; then all handlers of the server return
	gone    chan struct{} // closed when the server has ended, too
	kill    chan struct{} // closed to end the process without waiting for termGrace
	killOne sync.Once

	// Guarded by Function.mu.
	state        state
	idle         []*poller
	returning    int       // how many polls are expected soon
	draining     bool      // a poll was dropped, so the process is about to end and no poll is expected
	answered     time.Time // when returning last grew
	inFlight     map[string]*invocation
	timedOut     recentIDs
	invocations  int
	extensions   map[string]bool // ids
	initFailed   bool
	initDuration time.Duration
	initReport   *FunctionError // what the runtime said when its init failed
	stopped      time.Time
	started      time.Time
}

type state int

const (
	starting state = iota
	up             // the runtime has polled
	stopping       // the environment was told to end, or has ended
)

// poller is one waiting GET of /next.
type poller struct {
	invocation chan *invocation // has room for one
}

// invocation is one request. Function.mu guards its fields, except for the first three.
type invocation struct {
	id      string
	payload []byte
	outcome chan outcome // buffered, so the only send never blocks

	environment *environment // the environment that got the invocation; nil while the invocation waits
	handedOver  time.Time
	deadline    *time.Timer
	answering   bool          // the runtime is sending its answer
	coldStart   time.Duration // the environment's init, if this is its first invocation
}

type outcome struct {
	reply *Reply
	err   error
}

func newInvocation(payload []byte) *invocation {
	return &invocation{id: uuid(), payload: payload, outcome: make(chan outcome, 1)}
}

var (
	// ErrThrottled is returned at once if no environment has room for the invocation; Lambda's callers see status 429. The invocation is not queued:
	// try again later, as Lambda's callers do.
	ErrThrottled = errors.New("lmitest: throttled: no environment has an idle runtime")
	// ErrClosed is returned by a Function that was shut down.
	ErrClosed = errors.New("lmitest: the function is shut down")
)

// mustBe panics if f or ctx is nil.
func (f *Function) mustBe(ctx context.Context) {
	if f == nil || ctx == nil {
		panic("lmitest: the Function or the ctx is nil: look at Start's error before its result is used")
	}
}

func (f *Function) statsLocked() Stats {
	s := f.stats
	for _, e := range f.environments {
		s.Idle += len(e.idle)
		s.InFlight += len(e.inFlight)
		if e.state == up && !e.draining {
			s.Ready++
		}
	}
	return s
}

// changedLocked wakes all calls of Wait.
func (f *Function) changedLocked() {
	if f.change != nil {
		close(f.change)
		f.change = nil
	}
}

// Stats returns the counters.
func (f *Function) Stats() Stats {
	f.mustBe(context.Background())
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.statsLocked()
}

// Wait returns nil when ok returns true, or ctx's error if ctx ends first. It calls ok after each change and may miss short states, so ok must look
// for a state that lasts, such as "one exit counted" or "64 in flight and blocked".
func (f *Function) Wait(ctx context.Context, ok func(Stats) bool) error {
	if f.mustBe(ctx); ok == nil {
		panic("lmitest: Wait: the func is nil")
	}
	for {
		f.mu.Lock()
		s := f.statsLocked()
		if f.change == nil {
			f.change = make(chan struct{})
		}
		change := f.change
		f.mu.Unlock()
		if ok(s) {
			return nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Format describes f in one line, whatever the verb.
func (f *Function) Format(s fmt.State, _ rune) {
	fmt.Fprintf(s, "lmitest.Function(%s, %v)", f.config.FunctionName, f.config.Kind)
}

package sim

import (
	"context"
	"time"

	"github.com/lmipool/lmipool/internal/sched"
)

// Config is what NewEnv needs to know of an Env.
type Config struct {
	Max, Min int             // bound the number of connections
	Group    int             // the largest group that shares a connection; 0 if no caller shares
	Patience time.Duration   // how long a caller without a deadline waits while the server is full
	Fair     bool            // each Kind.Key gets its part of the connections
	MaxQueue int             // how many callers may wait; 0 for any number
	MaxWait  time.Duration   // how long a caller without a deadline waits; 0 for ever
	Idle     time.Duration   // a connection that is idle for this time is closed; 0 if none is closed
	Cancel   time.Duration   // if a caller leaves while its statement runs, its connection is held for this time and a round trip
	Wakes    time.Duration   // a caller goes on within a random time up to this after its answer
	Unfit    float64         // the probability that a connection that is lent turns out to be dead
	Fences   []time.Duration // the times at which the connections are fenced
	Ceilings time.Duration   // each time after this long the ceiling moves to a random number from 0 to Max; 0 if it never moves
	Load     Load
	Check    bool          // check the rules after each event
	Every    time.Duration // how often a sample is taken; 0 for never
}

// Env is a pool with its callers.
type Env struct {
	Samples []Sample
	Total   Counts

	w      *World
	server *Server
	cfg    Config
	s      *sched.Scheduler
	source source
	alarms int       // counts the timers that are set
	conns  []*conn   // all connections, without those that are still being dialed
	made   int       // counts the connections that were ever dialed
	asks   int       // counts the callers so far
	spare  []*caller // callers that are over, to be used again
	fences int       // counts the cfg.Fences that are over
	closed bool
	books  books
	last   Counts               // Total at the last sample
	ended  func(*caller, error) // is called when a caller ends, unless it is nil
}

// upkeepEach is how often the pool looks for connections that were idle for too long.
const upkeepEach = 500 * time.Millisecond

// maxGroupTime is the value that package pool uses.
const maxGroupTime = 20 * time.Millisecond

// NewEnv adds a pool to w. The pool dials server.
func NewEnv(w *World, server *Server, cfg Config) *Env {
	e := &Env{w: w, server: server, cfg: cfg}
	e.source = source{w: w, arrive: e.arrive, load: cfg.Load, at: -1, kinds: cfg.Load.Kinds, stop: 1<<63 - 1}
	e.books.begin(e)
	e.s = sched.New(sched.Config{
		Max: cfg.Max, MaxGroup: cfg.Group, MaxGroupTime: func() time.Duration { return maxGroupTime }, Patience: cfg.Patience, MaxWait: cfg.MaxWait, MaxQueue: cfg.MaxQueue, Fair: cfg.Fair,
		Dial:    e.dial,
		Prepare: func(_ context.Context, r *sched.Request) sched.Share { return r.Owner.(*caller).shares() },
		Traits:  func(_ context.Context, r *sched.Request) sched.Traits { return r.Owner.(*caller).traits() },
		Gone:    func(*sched.Request) error { return nil },
		Done:    func(*sched.Request) <-chan struct{} { return nil },
		Group:   e.newFlight,
		Carry:   func(g *sched.Group) { g.Owner.(*flight).takesOff() },
		Close:   func(c *sched.Conn) { c.Owner.(*conn).close() },
		Send:    func(c *sched.Conn) { c.Owner.(*conn).sendsAlone() },
		Moved:   e.moved,
		Now:     w.Now,
		After:   e.after,
		Random:  w.random,
	})
	if cfg.Check {
		w.each = append(w.each, e.books.hold)
	}
	w.in(0, &e.source, sample, 0)
	w.in(upkeepEach, e, upkeep, 0)
	if cfg.Every > 0 {
		w.in(cfg.Every, e, sample, 0)
	}
	if cfg.Ceilings > 0 {
		w.in(cfg.Ceilings, e, ceiling, 0)
	}
	return e
}

func (e *Env) after(d time.Duration, f func()) sched.Timer {
	a := &alarm{e: e, f: f}
	a.Reset(d)
	return a
}

// wakes returns how long it takes a caller to go on after something that it waits for.
func (e *Env) wakes() time.Duration {
	if e.cfg.Wakes == 0 {
		return 0
	}
	return e.w.random(e.cfg.Wakes)
}

// close closes the pool and all its connections. The load must be over.
func (e *Env) close() {
	e.closed = true
	for _, c := range e.s.Close() {
		c.Owner.(*conn).close()
	}
}

func (e *Env) happens(what kind, _ uint32) {
	if what == sample {
		e.sample()
		e.w.in(e.cfg.Every, e, sample, 0)
		return
	}
	if e.closed {
		return
	}
	if what == ceiling {
		if e.w.now >= e.source.stop {
			e.moves(e.cfg.Max)
			return
		}
		e.moves(e.w.Rand.IntN(e.cfg.Max + 1))
		e.w.in(e.cfg.Ceilings, e, ceiling, 0)
		return
	}
	e.w.say("upkeep")
	st := e.s.Stats()
	if st.Opened > 0 {
		e.s.SetFloor(e.cfg.Min)
	}
	if e.cfg.Idle > 0 {
		now := e.w.Now()
		surplus := e.s.TakeIdle(func(c *sched.Conn, _, open int) bool { return open > e.cfg.Min && now.Sub(c.Since()) > e.cfg.Idle })
		e.books.surplus(len(surplus))
		for _, c := range surplus {
			c.Owner.(*conn).close()
		}
	}
	if e.fences < len(e.cfg.Fences) && e.cfg.Fences[e.fences] <= e.w.now {
		e.fences++
		idle, first := e.s.Fence(nil)
		e.w.say("fence", len(idle))
		e.books.fence(len(idle), first)
		for _, c := range idle {
			c.Owner.(*conn).close()
		}
	}
	e.w.in(upkeepEach, e, upkeep, 0)
}

// moves sets the ceiling to n.
func (e *Env) moves(n int) {
	e.w.say("ceiling", n)
	e.books.moves(n)
	e.s.SetCeiling(n)
}

// moved notes a move of the limit.
func (e *Env) moved(m sched.Move) {
	e.w.say("limit", m.From, m.To)
	if m.Why == sched.MovedToFewer || m.Why == sched.MovedToMore || m.Why == sched.MovedByDemand && e.s.Stats().Tuning {
		e.books.tuned(m)
	}
}

func (e *Env) dial() {
	e.made++
	c := &conn{e: e, id: e.made, began: e.w.now, fences: e.fences}
	c.place.Shares = e.cfg.Group > 1
	e.s.Begin(&c.place, c)
	e.books.dial()
	e.w.say("dial", c.id)
	half := e.server.DialTime / 2
	e.w.in(e.server.still(e.w.now, e.w.now+half+e.w.exponential(half))-e.w.now, c, dialEnds, 0)
}

// mostRest is how long a run goes on after its load: enough for the longest pause between two dials, and for a standstill of the server.
const mostRest = 30 * time.Second

// Finish ends the load of envs, which must be all envs of w. It waits until all connections are back, closes the pools, and checks that nothing is
// left. Its error is a *Broken.
func Finish(w *World, envs ...*Env) (err error) {
	for _, e := range envs {
		e.source.stop = w.now
	}
	if err := w.Run(w.now + mostRest); err != nil {
		return err
	}
	defer recoverBroken(&err)
	for _, e := range envs {
		e.books.over()
		e.close()
	}
	if err := w.Run(w.now + mostRest); err != nil {
		return err
	}
	for _, e := range envs {
		select {
		case <-e.s.Empty():
		default:
			w.must(false, "after Close no connection is left")
		}
	}
	return nil
}

// alarm implements sched.Timer in virtual time.
type alarm struct {
	e   *Env
	f   func()
	gen uint32
	set bool
}

func (a *alarm) Reset(d time.Duration) bool {
	was := a.set
	if !was {
		a.e.alarms++
	}
	a.gen++
	a.set = true
	a.e.w.in(d, a, timer, a.gen)
	return was
}

func (a *alarm) happens(_ kind, gen uint32) {
	if a.set && gen == a.gen {
		a.set = false
		a.e.alarms--
		a.e.w.say("timer")
		a.f()
	}
}

// Counts says how many callers there were, and how they ended.
type Counts struct {
	Offered  int           // all callers; a caller that asks again counts again
	Done     int           // callers that had an answer in time
	Late     int           // callers that had an answer after their deadline
	Canceled int           // callers whose deadline came while their statement ran
	Expired  int           // callers whose deadline came while they waited
	Refused  int           // callers that were refused, because there was not enough time
	Failed   int           // callers that had another error
	Work     time.Duration // the time on the server of the callers that are Done
}

func (c Counts) sub(o Counts) Counts {
	return Counts{c.Offered - o.Offered, c.Done - o.Done, c.Late - o.Late, c.Canceled - o.Canceled, c.Expired - o.Expired, c.Refused - o.Refused, c.Failed - o.Failed, c.Work - o.Work}
}

// Sample has the Counts since the sample before, and the connections and the queue at At.
type Sample struct {
	At time.Duration
	Counts
	Limit, Open, Held, Queued int
}

func (e *Env) sample() {
	s := e.s.Stats()
	e.Samples = append(e.Samples, Sample{At: e.w.now, Counts: e.Total.sub(e.last), Limit: s.Limit, Open: s.Total - s.Dialing, Held: s.Held, Queued: s.Queued})
	e.last = e.Total
}

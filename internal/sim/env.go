package sim

import (
	"context"
	"time"

	"github.com/lmipool/lmipool/internal/sched"
)

// Config is of an Env.
type Config struct {
	Max, Min int           // connections
	Group    int           // how many travel together at most; 0: nobody does
	Patience time.Duration // for a full server, without a deadline
	Idle     time.Duration // after which a connection is closed that nobody used; 0: never
	Cancel   time.Duration // beside a round trip: how long a connection is held on after its caller has left, if its statement still runs
	Wakes    time.Duration // within which a caller goes on that has its answer
	Unfit    float64       // of all connections that are lent, those that turn out to be dead
	Fences   []time.Duration
	Load     Load
	Check    bool          // hold the rules against what there is after each event
	Every    time.Duration // a sample is taken; 0: never
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
	alarms int     // that are set
	conns  []*conn // that there are, dials not included
	made   int     // connections, ever
	asks   int     // callers, ever
	spare  []*caller
	fences int // of cfg.Fences, those that were
	closed bool
	books  books
	last   Counts // at the last sample
}

// upkeepEach is how often the pool looks for connections that nobody needs.
const upkeepEach = 500 * time.Millisecond

// maxGroupTime is what package pool has.
const maxGroupTime = 20 * time.Millisecond

// NewEnv adds a pool to w, which uses server.
func NewEnv(w *World, server *Server, cfg Config) *Env {
	e := &Env{w: w, server: server, cfg: cfg}
	e.source = source{w: w, arrive: e.arrive, load: cfg.Load, at: -1, kinds: cfg.Load.Kinds, stop: 1<<63 - 1}
	e.books.begin(e)
	e.s = sched.New(sched.Config{
		Max: cfg.Max, MaxGroup: cfg.Group, MaxGroupTime: func() time.Duration { return maxGroupTime }, Patience: cfg.Patience,
		Dial:    e.dial,
		Prepare: func(_ context.Context, r *sched.Request) sched.Share { return r.Owner.(*caller) },
		Gone:    func(*sched.Request) error { return nil },
		Done:    func(*sched.Request) <-chan struct{} { return nil },
		Group:   e.newFlight,
		Carry:   func(g *sched.Group) { g.Owner.(*flight).takesOff() },
		Close:   func(c *sched.Conn) { c.Owner.(*conn).close() },
		Send:    func(c *sched.Conn) { c.Owner.(*conn).sendsAlone() },
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
	return e
}

func (e *Env) after(d time.Duration, f func()) sched.Timer {
	a := &alarm{e: e, f: f}
	a.Reset(d)
	return a
}

// close closes the pool, whose load is over, with all its connections.
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

func (e *Env) dial() {
	e.made++
	c := &conn{e: e, id: e.made, began: e.w.now}
	c.place.Shares = e.cfg.Group > 1
	e.s.Begin(&c.place, c)
	e.books.dial()
	e.w.say("dial", c.id)
	half := e.server.DialTime / 2
	e.w.in(e.server.still(e.w.now, e.w.now+half+e.w.exponential(half))-e.w.now, c, dialEnds, 0)
}

// mostRest is how long after its load is over nothing is left of a run: the longest rest between two dials, and what a standstill takes.
const mostRest = 30 * time.Second

// Finish ends the load of envs, which are all in w, lets all come back, and closes the pools: then nothing is left. What it returns is a *Broken.
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
			w.must(false, "after Close nothing is left")
		}
	}
	return nil
}

// alarm is a sched.Timer.
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

// Counts are of callers: how many there were and how they ended.
type Counts struct {
	Offered  int           // tries
	Done     int           // in time
	Late     int           // with an answer after their deadline
	Canceled int           // by their deadline, while their statement ran
	Expired  int           // by their deadline, in the queue
	Failed   int           // refused, for whatever reason
	Work     time.Duration // of those who were done in time, on the server
}

func (c Counts) sub(o Counts) Counts {
	return Counts{c.Offered - o.Offered, c.Done - o.Done, c.Late - o.Late, c.Canceled - o.Canceled, c.Expired - o.Expired, c.Failed - o.Failed, c.Work - o.Work}
}

// Sample is what was in a part of a run, and what there is at its end.
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

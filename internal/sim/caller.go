package sim

import (
	"context"
	"errors"
	"time"

	"github.com/lmipool/lmipool/internal/sched"
)

// caller asks for a connection. It is also the ctx with which it asks.
type caller struct {
	e       *Env
	id      int
	kind    *Kind
	work    time.Duration
	r       sched.Request
	due     time.Duration // the caller's deadline, since epoch; 0 if there is none
	tries   int
	is      state
	gen     uint32
	cut     bool // the connection does not settle in time after a cancel, and is cut off
	ahead   bool // the caller is in front of those who have just come and hold no connection
	minding bool // there is an event for the caller's deadline
	told    func(*sched.Conn, error)

	conn       *conn   // the connection that the caller has got
	err        error   // the error that the caller has got
	flight     *flight // the flight that carries the caller; nil if none does
	inner      *caller // the caller that this one has made while it holds conn; nil if there is none
	outer      *caller // the caller that has made this one as its inner; nil if there is none
	in         sched.Within
	prev, next *caller // the callers before and after this one in its line
}

// state says how far a caller has come.
type state uint8

const (
	asking    state = iota
	waiting         // the caller is queued
	aboard          // the caller's group has the connection
	hasAnswer       // the caller has its answer, and has not gone on with it yet
	holds           // the caller holds a connection
	left            // the caller's deadline has come, and its statement still runs
	over
)

var errLate = context.DeadlineExceeded

func (c *caller) Deadline() (time.Time, bool) { return epoch.Add(c.due), c.due > 0 }
func (c *caller) Done() <-chan struct{}       { return nil }
func (c *caller) Value(any) any               { return nil }

func (c *caller) Err() error {
	if c.due > 0 && c.e.w.now >= c.due {
		return errLate
	}
	return nil
}

// Cost and Withdraw implement sched.Share.
func (c *caller) Cost() time.Duration { return c.work }
func (c *caller) Withdraw(error)      {}

// arrive makes a caller of kind k, which asks at once.
func (e *Env) arrive(k *Kind) { e.caller(k, k.work(e.w), 0).ask(false) }

func (e *Env) caller(k *Kind, work time.Duration, tries int) *caller {
	var c *caller
	if n := len(e.spare); n > 0 {
		c = e.spare[n-1]
		e.spare = e.spare[:n-1]
	} else {
		c = &caller{e: e}
		c.told = c.hears
	}
	e.asks++
	c.id, c.kind, c.work, c.tries = e.asks, k, work, tries
	c.cut, c.minding, c.conn, c.err, c.flight, c.inner, c.outer, c.due = false, false, nil, nil, nil, nil, nil, 0
	c.r = sched.Request{Owner: c, Asked: e.w.Now(), MayShare: k.Shares && e.cfg.Group > 1}
	if k.Within > 0 {
		c.due = e.w.now + k.Within
	}
	e.Total.Offered++
	e.w.say("arrival", c.id)
	return c
}

// ask asks for a connection. If first is true, the connection that c got before was dead, and c asks in front of the queue.
func (c *caller) ask(first bool) {
	c.is = asking
	got, err := c.e.s.Ask(c, &c.r, first, c.told)
	switch {
	case err != nil:
		c.e.books.refused(c, first, err)
		c.ends(err)
	case got != nil:
		c.e.books.lend(got.Owner.(*conn), c)
		c.begin(got)
	case c.is == asking:
		c.is = waiting
		c.e.books.waits(c, first)
		c.minds()
		if latest := c.r.Latest(); !latest.IsZero() {
			c.e.w.in(latest.Sub(c.e.w.Now())+c.e.wakes(), c, tooLate, c.gen)
		}
	}
}

// shares returns how c, which is about to wait, can share a connection, or nil.
func (c *caller) shares() sched.Share {
	if c.r.MayShare {
		return c
	}
	return nil
}

// traits returns what the pool knows of c, which is about to wait.
func (c *caller) traits() sched.Traits {
	t := sched.Traits{Holds: c.outer != nil, Key: c.kind.Key}
	if c.kind.Known {
		t.Expect = c.work
	}
	return t
}

// minds adds an event at c's deadline, unless there is one.
func (c *caller) minds() {
	if c.due > 0 && !c.minding {
		c.minding = true
		c.e.w.in(c.due-c.e.w.now, c, deadline, c.gen)
	}
}

// hears notes the scheduler's answer to c. c goes on with it within cfg.Wakes.
func (c *caller) hears(got *sched.Conn, err error) {
	c.e.books.told(c, got, err)
	c.is, c.err = hasAnswer, err
	if got != nil {
		c.conn = got.Owner.(*conn)
	}
	c.e.w.in(c.e.wakes(), c, grant, c.gen)
}

func (c *caller) happens(what kind, gen uint32) {
	if gen != c.gen {
		return
	}
	switch {
	case what == release: // the caller's pause is over
		c.ask(false)
	case what == grant && c.is == hasAnswer:
		if c.Err() != nil && c.e.w.chance(0.5) { // if both the answer and the deadline are there, Go's select takes either one
			c.leaves()
		} else {
			c.goesOn()
		}
	case what == grant:
	case what == tooLate:
		if c.is == waiting && c.isLate() { // otherwise it has asked again
			c.refused()
		}
	case c.is == waiting, c.is == aboard, c.is == hasAnswer && c.e.w.chance(0.5):
		c.leaves()
	case c.is == holds && c.inner == nil:
		c.e.w.say("cancel", c.id)
		c.is = left
		c.conn.cancel()
	}
}

// isLate reports whether c's latest start has come.
func (c *caller) isLate() bool {
	latest := c.r.Latest()
	return !latest.IsZero() && !c.e.w.Now().Before(latest)
}

// refused ends c's wait, because of its latest start.
func (c *caller) refused() {
	c.e.w.say("too late", c.id)
	err := c.e.s.TooLate(&c.r)
	c.e.books.must(err != nil, "a caller who waits is refused after its latest start")
	c.e.books.told(c, nil, err)
	c.ends(err)
}

// leaves ends c's wait, because of its deadline.
func (c *caller) leaves() {
	c.e.w.say("leaves", c.id)
	was, f := c.is, c.flight
	c.is = over
	c.e.books.leaves(c, was)
	err := c.e.s.Leave(c, &c.r, errLate)
	if f == nil {
		c.ends(err)
		return
	}
	if was == hasAnswer {
		f.goesOn()
	}
	c.count(err)
	if was == hasAnswer {
		c.forget()
	} // otherwise the flight still needs c
}

// goesOn makes c go on with its answer.
func (c *caller) goesOn() {
	got, err := c.e.s.Take(&c.r)
	id := 0
	if got != nil {
		id = got.Owner.(*conn).id
	}
	c.e.w.say("grant", c.id, id)
	c.e.books.must((got == nil || got.Owner == any(c.conn)) && (err == nil) == (c.err == nil), "Take returns the answer that the callback was given")
	switch f := c.flight; {
	case f != nil:
		c.ends(err)
		f.goesOn()
	case err != nil:
		c.ends(err)
	default:
		c.begin(got)
	}
}

// begin begins c's work on the connection that it has got, or asks again if the connection turns out to be dead.
func (c *caller) begin(got *sched.Conn) {
	c.conn = got.Owner.(*conn)
	w := c.e.w
	if w.chance(c.e.cfg.Unfit) {
		w.say("unfit", c.conn.id)
		c.conn.close()
		c.conn = nil
		c.ask(true)
		return
	}
	c.is = holds
	c.conn.begin(c)
	if c.conn.ends > c.due {
		c.minds()
	}
	if c.kind.Nests && c.outer == nil {
		in := c.e.caller(c.kind, c.work, c.kind.Retries)
		c.inner, in.outer = in, c
		in.in = sched.Within{Holds: &c.r}
		in.r.Within = &in.in
		c.conn.gen++ // c's work ends after in's, so the event for its end is void
		in.ask(false)
	}
}

// answered ends c, whose statement has ended and whose connection is back.
func (c *caller) answered() {
	if c.is == left {
		c.ends(errLate)
		return
	}
	c.e.w.say("done", c.id)
	c.ends(nil)
}

// ends ends c with err.
func (c *caller) ends(err error) {
	c.count(err)
	c.forget()
}

// count counts how c ended. After an error a new caller asks again for it, if it has a retry left.
func (c *caller) count(err error) {
	t := &c.e.Total
	if c.e.ended != nil {
		c.e.ended(c, err)
	}
	switch {
	case err == nil && c.due > 0 && c.e.w.now > c.due:
		t.Late++
	case err == nil:
		t.Done++
		t.Work += c.work
	case errors.As(err, new(*sched.NoTimeError)):
		t.Refused++
	case errors.Is(err, errLate) && c.is == left:
		t.Canceled++
	case errors.Is(err, errLate):
		t.Expired++
	default:
		t.Failed++
	}
	if o := c.outer; o != nil { // the outer caller goes on
		o.inner = nil
		o.conn.in(o.conn.e.server.RoundTrip)
	} else if err != nil && c.tries < c.kind.Retries && c.e.w.now < c.e.source.stop {
		again := c.e.caller(c.kind, c.work, c.tries+1)
		c.e.w.in(c.kind.Pause, again, release, again.gen)
	} else if k := &c.e.source; k.load.Again && c.e.w.now < k.stop {
		kind := k.draw()
		again := c.e.caller(kind, kind.work(c.e.w), 0)
		c.e.w.in(c.e.wakes(), again, release, again.gen)
	}
}

// forget makes c available as a new caller. Nothing may refer to it any more.
func (c *caller) forget() {
	c.is = over
	c.gen++
	c.e.spare = append(c.e.spare, c)
}

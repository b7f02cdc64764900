package sim

import (
	"errors"
	"slices"
	"time"

	"github.com/lmipool/lmipool/internal/sched"
)

// conn is a connection of the pool.
type conn struct {
	place  sched.Conn
	e      *Env
	id     int
	is     where
	began  time.Duration // when its dial began
	fences int           // how many fences there were then
	user   *caller       // the caller that holds the connection; nil if none does or a flight has it
	ends   time.Duration // when the server has done its statement
	until  float64       // see paced
	gen    uint32
}

// where says what happens with a connection now.
type where uint8

const (
	dialing where = iota
	idle
	lent    // a caller holds the connection
	flying  // a flight has the connection
	washing // the connection is being cleaned
	closing
	gone
)

func (c *conn) happens(what kind, gen uint32) {
	if gen != c.gen {
		return
	}
	switch {
	case what == dialEnds:
		c.dialed()
	case c.is == lent:
		c.done()
	case c.is == washing:
		c.e.w.say("washed", c.id)
		c.e.s.Washing(-1)
		c.release(false)
	case c.is == closing:
		c.dropped()
	}
}

func (c *conn) dialed() {
	e := c.e
	err := e.server.dial(e.w)
	if err != nil {
		e.w.say("dial failed", c.id)
		c.is = gone
		lack := sched.Lack{}
		switch {
		case errors.Is(err, errFull):
			lack = sched.Lack{Err: err, Full: true}
		case errors.Is(err, errAway):
			lack = sched.Lack{Err: err}
		}
		e.books.dialFailed(lack)
		e.s.DialFailed(err, lack, epoch.Add(c.began))
		return
	}
	e.w.say("dialed", c.id)
	e.conns = append(e.conns, c)
	c.is = idle
	e.books.dialEnds()
	e.s.Dialed(&c.place, e.w.now-c.began)
	e.books.dialed(c)
}

// begin begins u's statement on c.
func (c *conn) begin(u *caller) {
	c.user = u
	s := c.e.server
	s.running++
	if s.Pace != nil {
		s.paced.begin(s, c, u.work)
		return
	}
	c.ends = s.ends(c.e.w.now, u.work)
	c.in(c.ends - c.e.w.now)
}

// in ends c's present state after d. It replaces an earlier call.
func (c *conn) in(d time.Duration) {
	c.gen++
	c.e.w.in(d, c, release, c.gen)
}

// cancel cancels c's statement, because its caller has left.
func (c *conn) cancel() {
	e := c.e
	c.place.GaveUp(true)
	settled := min(c.ends, e.server.still(e.w.now, e.w.now+e.server.RoundTrip+e.cfg.Cancel))
	most := c.user.kind.CutAfter
	if most == 0 {
		most = time.Second
	}
	if settled-e.w.now > most {
		c.user.cut = true
		settled = e.w.now + most
	}
	c.in(settled - e.w.now)
}

// done ends the hold of c's caller.
func (c *conn) done() {
	u := c.user
	c.user = nil
	c.e.server.running--
	c.home(u.kind, u.cut)
	u.answered()
}

// home gives c back to the pool: it is closed, cleaned or released.
func (c *conn) home(k *Kind, cut bool) {
	w := c.e.w
	switch {
	case cut, c.place.Fenced(), w.chance(k.Breaks):
		c.close()
	case w.chance(k.Dirty):
		w.say("wash", c.id)
		c.is = washing
		c.e.s.Washing(1)
		c.e.s.Retain(&c.place)
		c.in(c.e.server.still(w.now, w.now+c.e.server.RoundTrip) - w.now)
	default:
		c.release(w.chance(k.Reset))
	}
}

func (c *conn) release(waits bool) {
	c.e.w.say("release", c.id)
	c.is = idle // before the call, in which a caller may get it
	wait := time.Duration(0)
	if waits {
		wait = sched.JoinWithin
	}
	c.e.s.Release(&c.place, wait, c.e.w.Now())
}

// sendsAlone sends the reset that c has to send, because no statement has come in front of which it could travel.
func (c *conn) sendsAlone() {
	c.e.w.say("sends alone", c.id)
	c.e.books.must(c.is == idle, "a connection is idle before it sends alone")
	c.is = washing
	c.e.s.Washing(1)
	c.in(c.e.server.RoundTrip)
}

func (c *conn) close() {
	c.e.w.say("close", c.id)
	c.is = closing
	c.e.s.Leaves(&c.place)
	c.in(max(c.ends, c.e.server.still(c.e.w.now, c.e.w.now+c.e.server.RoundTrip)) - c.e.w.now)
}

func (c *conn) dropped() {
	e := c.e
	e.w.say("drop", c.id)
	e.server.open--
	c.is = gone
	e.conns = slices.DeleteFunc(e.conns, func(o *conn) bool { return o == c })
	e.s.Drop(&c.place)
}

// flight carries the callers that share a connection.
type flight struct {
	g      sched.Group
	c      *conn
	coming int // counts the callers that have their answer and have not gone on with it yet
}

func (e *Env) newFlight(c *sched.Conn) *sched.Group {
	f := &flight{c: c.Owner.(*conn)}
	f.g.Owner = f
	return &f.g
}

func (f *flight) takesOff() {
	f.c.e.books.fly(f.c)
	f.flies()
}

// flies carries the group that has boarded.
func (f *flight) flies() {
	e := f.c.e
	e.books.board(f.c, f.g.Requests)
	var work time.Duration
	for _, r := range f.g.Requests {
		c := r.Owner.(*caller)
		c.is, c.flight = aboard, f
		work += c.work
	}
	e.w.say("flight", f.c.id, len(f.g.Requests))
	f.c.ends = e.server.ends(e.w.now, work)
	e.server.running++
	e.w.in(f.c.ends-e.w.now, f, release, 0)
}

func (f *flight) happens(kind, uint32) {
	e := f.c.e
	e.server.running--
	e.w.say("landed", f.c.id)
	f.coming = 1
	for _, r := range f.g.Requests {
		if c := r.Owner.(*caller); c.is == aboard {
			f.coming++
			e.s.Answer(r)
		} else {
			c.forget() // the caller has left
		}
	}
	f.goesOn()
}

// goesOn notes that one of the callers has gone on with its answer. After the last one the next group may board.
func (f *flight) goesOn() {
	f.coming--
	if f.coming > 0 {
		return
	}
	e := f.c.e
	e.s.Await(&f.g)
	alone := e.w.chance(0.5)
	if !f.c.place.Fenced() && e.s.Next(&f.g, alone) {
		f.flies()
		return
	}
	f.c.home(&e.cfg.Load.Kinds[0], false)
}

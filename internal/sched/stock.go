package sched

import (
	"slices"
	"sync/atomic"
	"time"
)

// Conn is the scheduler's part of a connection. The pool's connection has one as a field.
type Conn struct {
	Owner  any  // belongs to the pool; the scheduler does not use it
	Shares bool // whether the connection can carry groups; it is set before Dialed

	epoch   int           // stock.epoch when the dial began
	fenced  atomic.Bool   // a fence has given the connection up
	leaving bool          // the connection is being closed
	wait    time.Duration // how long the connection is idle before Send is called; 0: Send is not called
	gaveUp  end           // whether the user has given up a statement

	holder  *Request
	since   time.Time     // when the connection became idle, or its turn began
	idleFor time.Duration // how long the connection had been idle when it was lent
	waiting Timer         // calls joinDue; nil until it is needed for the first time
}

// Timer is what Config.After returns: a *time.Timer.
type Timer interface{ Reset(time.Duration) bool }

// Since returns when c became idle, or when its turn began. IdleFor returns how long c had been idle when it was lent.
func (c *Conn) Since() time.Time       { return c.since }
func (c *Conn) IdleFor() time.Duration { return c.idleFor }

// Age returns the time from since to now by the clock that says more. While Lambda has frozen a process, its monotonic clock may stand still. The wall clock
// may be set back.
func Age(since, now time.Time) time.Duration {
	return max(now.Sub(since), now.Round(0).Sub(since.Round(0)))
}

// end is how a hold ends.
type end uint8

const (
	whole end = iota
	givenUp
	givenUpLate // given up because of a deadline
)

// GaveUp notes that c's user stopped waiting for a statement that still runs. late says that a deadline was the reason. Such a hold is not counted in
// the average of turns, because it does not show how long the statement takes.
func (c *Conn) GaveUp(late bool) {
	if c.gaveUp = givenUp; late {
		c.gaveUp = givenUpLate
	}
}

// Fenced reports whether Fence has given c up. If so, the pool closes c as soon as its user is done.
func (c *Conn) Fenced() bool { return c.fenced.Load() }

// stock is all connections of the scheduler.
type stock struct {
	all   []*Conn // every connection that the server may still count as ours
	idle  []*Conn // the last in the list was used last and is lent next, so that connections that are not needed stay idle and grow old
	held  int     // how many connections have a holder
	epoch int     // how many fences there were
}

// JoinWithin is how long something that is queued on an idle connection (a reset) waits for a statement to be sent with. Then it is sent alone. If it
// were sent alone at once, the next user would often have to wait for its answer.
const JoinWithin = 2 * time.Millisecond

// begin notes that the dial of c begins.
func (s *stock) begin(c *Conn, owner any) { c.Owner, c.epoch = owner, s.epoch }

func (s *stock) add(c *Conn, now time.Time) {
	s.all = append(s.all, c)
	c.since = now
	c.fenced.Store(c.epoch != s.epoch) // there was a fence while it was dialed
}

func (s *stock) drop(c *Conn) {
	s.all = slices.DeleteFunc(s.all, func(o *Conn) bool { return o == c })
}

// pop takes the idle connection that was used last. It returns nil if there is none.
func (s *stock) pop() *Conn {
	n := len(s.idle)
	if n == 0 {
		return nil
	}
	c := s.idle[n-1]
	s.idle = s.idle[:n-1]
	return c
}

// shift takes the idle connection that would be used last. There must be one.
func (s *stock) shift() *Conn {
	c := s.idle[0]
	s.idle = slices.Delete(s.idle, 0, 1)
	return c
}

func (s *stock) lend(c *Conn, r *Request, now time.Time) {
	c.idleFor = Age(c.since, now)
	c.since = now
	c.holder, c.gaveUp = r, whole
	s.held++
}

// end ends c's hold, if there is one, and returns how long it was.
func (s *stock) end(c *Conn, now time.Time) (took time.Duration, was bool) {
	if c.holder == nil {
		return 0, false
	}
	c.holder = nil
	s.held--
	return c.turn(now), true
}

// turn begins another turn of c, and returns how long the last one was.
func (c *Conn) turn(now time.Time) (took time.Duration) {
	took = now.Sub(c.since)
	c.since = now
	return took
}

func (s *stock) keep(c *Conn, now time.Time) {
	c.since = now
	s.idle = append(s.idle, c)
}

// joinLast moves c, which has just become idle, to the place where it is used last. So callers prefer connections that have nothing queued.
func (s *stock) joinLast(c *Conn) {
	n := len(s.idle) - 1
	copy(s.idle[1:], s.idle[:n])
	s.idle[0] = c
}

// joinDue takes c out of the idle connections if it has been idle for c.wait, and reports whether it did. more is how much longer c has to wait.
func (s *stock) joinDue(c *Conn, now time.Time) (due bool, more time.Duration) {
	i := slices.Index(s.idle, c)
	if i < 0 || c.wait == 0 {
		return false, 0
	}
	if more := c.wait - now.Sub(c.since); more > 0 {
		return false, more
	}
	s.idle = slices.Delete(s.idle, i, i+1)
	return true, 0
}

func (s *stock) takeIdle(surplus func(c *Conn, idle, open int) bool) (taken []*Conn) {
	idle := len(s.idle)
	s.idle = slices.DeleteFunc(s.idle, func(c *Conn) bool {
		goes := surplus(c, idle-len(taken), idle+s.held-len(taken)) // open does not count connections that are being closed
		if goes {
			taken = append(taken, c)
		}
		return goes
	})
	return taken
}

func (s *stock) takeAll() (idle []*Conn) {
	idle, s.idle = s.idle, nil
	return idle
}

// fence gives up all connections, also those that are being dialed. It returns false, and does nothing, if c was given up already.
func (s *stock) fence(c *Conn) bool {
	if c != nil && c.fenced.Load() {
		return false
	}
	s.epoch++
	for _, o := range s.all {
		o.fenced.Store(true)
	}
	return true
}

// isBare reports whether there is no connection that can be lent now or later.
func (s *stock) isBare() bool { return !slices.ContainsFunc(s.all, (*Conn).isUsable) }

func (c *Conn) isUsable() bool { return !c.fenced.Load() && !c.leaving }

// usable returns how many connections are neither fenced nor being closed.
func (s *stock) usable() (n int) {
	for _, c := range s.all {
		if c.isUsable() {
			n++
		}
	}
	return n
}

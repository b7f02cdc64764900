package sched

import (
	"slices"
	"sync/atomic"
	"time"
)

// Conn is a connection as the scheduler sees it. The pool's connection has one in it.
type Conn struct {
	Owner  any  // never looked at here
	Shares bool // it can carry groups; not changed after Dialed

	epoch   int         // of the stock, when its dial began
	fenced  atomic.Bool // it was given up, with all that were dialed before
	leaving bool        // it is being closed
	waits   bool        // its owner has something to send with whatever is sent next

	holder  *Request
	since   time.Time     // idle since, or held since
	idleFor time.Duration // how long it had been idle when it was lent
	waiting Timer         // ends its wait for company; nil: it never had one
}

// Timer is what Config.After returns: a *time.Timer.
type Timer interface{ Reset(time.Duration) bool }

// Opened notes since when c is there, before Dialed.
func (c *Conn) Opened(at time.Time) { c.since = at }

// Since is since when c has been held, or idle, IdleFor how long it had been idle when it was lent. They are for whoever has c, and TakeIdle.
func (c *Conn) Since() time.Time       { return c.since }
func (c *Conn) IdleFor() time.Duration { return c.idleFor }

// Fenced reports whether c was given up by a Fence: nobody gets it any more.
func (c *Conn) Fenced() bool { return c.fenced.Load() }

// stock is the connections that there are.
type stock struct {
	all   []*Conn // every connection that the server may still count as ours
	idle  []*Conn // of these: a stack, the last used is the first reused, so that surplus ages
	held  int     // of these, too
	epoch int     // how often all were given up
}

// joinWithin is how long an idle connection that has something to send waits for somebody with whose statement that can go: if one
// follows the other, each would otherwise wait for it. Then its owner sends it alone.
const joinWithin = 2 * time.Millisecond

// begin notes that the dial of c, which is owner's, begins.
func (s *stock) begin(c *Conn, owner any) { c.Owner, c.epoch = owner, s.epoch }

func (s *stock) add(c *Conn) {
	s.all = append(s.all, c)
	c.fenced.Store(c.epoch != s.epoch) // it was begun before
}

func (s *stock) drop(c *Conn) {
	s.all = slices.DeleteFunc(s.all, func(o *Conn) bool { return o == c })
}

// pop takes the last used idle connection; nil: there is none.
func (s *stock) pop() *Conn {
	n := len(s.idle)
	if n == 0 {
		return nil
	}
	c := s.idle[n-1]
	s.idle = s.idle[:n-1]
	return c
}

func (s *stock) lend(c *Conn, r *Request, now time.Time) {
	c.idleFor = now.Sub(c.since)
	c.since = now
	c.holder = r
	s.held++
}

// end ends c's hold, and says how long it was; false: there is none.
func (s *stock) end(c *Conn, now time.Time) (took time.Duration, was bool) {
	if c.holder == nil {
		return 0, false
	}
	c.holder = nil
	s.held--
	return c.turn(now), true
}

// turn begins another turn of c's, and says how long the last one was.
func (c *Conn) turn(now time.Time) (took time.Duration) {
	took = now.Sub(c.since)
	c.since = now
	return took
}

func (s *stock) keep(c *Conn, now time.Time) {
	c.since = now
	s.idle = append(s.idle, c)
}

// joinLast puts c, which has just become idle, where it is the last to be used: whoever finds another need not bring what it has to send.
func (s *stock) joinLast(c *Conn) {
	n := len(s.idle) - 1
	copy(s.idle[1:], s.idle[:n])
	s.idle[0] = c
}

// joinDue takes c if it still waits and has done so for long enough. more: it was in use meanwhile, and waits for so long yet.
func (s *stock) joinDue(c *Conn, now time.Time) (due bool, more time.Duration) {
	i := slices.Index(s.idle, c)
	if i < 0 || !c.waits {
		return false, 0
	}
	if more := joinWithin - now.Sub(c.since); more > 0 {
		return false, more
	}
	s.idle = slices.Delete(s.idle, i, i+1)
	return true, 0
}

func (s *stock) takeIdle(surplus func(c *Conn, idle, open int) bool) (taken []*Conn) {
	idle := len(s.idle)
	s.idle = slices.DeleteFunc(s.idle, func(c *Conn) bool {
		goes := surplus(c, idle-len(taken), idle+s.held-len(taken)) // what is being closed counts no more
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

// fence gives up those that are being dialed, too.
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

// isBare reports whether there is no connection that anybody could get.
func (s *stock) isBare() bool {
	return !slices.ContainsFunc(s.all, func(c *Conn) bool { return !c.fenced.Load() && !c.leaving })
}

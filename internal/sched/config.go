package sched

import (
	"context"
	"time"
)

// Config is the argument of New. Max and the functions must be set. MaxGroupTime and Group are called with the scheduler's lock held.
type Config struct {
	Max          int                  // the most connections
	Least        int                  // how many connections the tuner leaves at least; it opens none (see SetFloor)
	MaxGroup     int                  // the most requests in a group; 0 means one
	MaxGroupTime func() time.Duration // the most that the costs of a group's requests add up to
	Patience     time.Duration        // how long a request without a deadline waits for a full server
	Fair         bool                 // whether each Traits.Key gets its part under pressure
	MaxQueue     int                  // the most requests that wait; 0 means any number
	MaxWait      time.Duration        // the longest wait of a request without a deadline; 0 means no limit

	Dial    func()                                 // begins one dial; Dialed or DialFailed is called at its end
	Prepare func(context.Context, *Request) Share  // is called when nothing is idle; nil if the request cannot share (see AskAgain)
	Traits  func(context.Context, *Request) Traits // is called after Prepare, once for each request that begins to wait
	Gone    func(*Request) error                   // why the request no longer needs a connection, apart from its ctx; nil if it does
	Done    func(*Request) <-chan struct{}         // is closed when Gone changes; nil if that never happens
	Group   func(*Conn) *Group                     // makes a group for the connection, and does nothing else
	Carry   func(*Group)                           // runs the group, and the groups that Next boards; then it calls Release or Drop
	Close   func(*Conn)                            // closes a connection that nobody wants; Drop follows
	Send    func(*Conn)                            // does what a connection is to do when it has been idle for a while; Release or Drop follows

	Moved func(Move) // hears of each change of the limit; may be nil

	// Each of these may be nil: then the function of package time or math/rand is used.
	Now    func() time.Time
	After  func(time.Duration, func()) Timer
	Random func(time.Duration) time.Duration // returns less than its argument
}

// Totals are counted since New.
type Totals struct {
	Acquires     int64 // connections that were lent
	Canceled     int64 // requests that gave up, because their ctx ended or Gone returned an error
	Refused      int64 // requests that got a NoTimeError
	Waits        int64 // requests that were queued
	Waited       time.Duration
	Opened       int64
	FailedDials  int64
	RefusedDials int64 // failed dials that found the server full
	Nested       int64 // requests that got a NestedError
}

// Stats is a snapshot of the scheduler.
type Stats struct {
	Totals

	Held, Idle, Dialing, Total int    // numbers of connections; Total includes dials, and connections that are being closed
	Max, Ceiling, Limit        int    // Ceiling is how many connections there may be now: Max, or less if SetCeiling says so
	Room                       int    // how many connections may be lent at once
	Tuning                     bool   // callers wait, or the connections are in use, all the time, so the tuner moves the limit
	LimitReason                string // why the limit last moved (see Move); empty if it never has
	Pressed                    bool   // there is pressure (see Admission in the package's doc)
	Queued                     int
	DialTime, HoldTime         time.Duration // moving averages
	FailedInARow               int           // dials that failed since the last one that succeeded
	Service                    time.Duration // moving average of the turns whose statements were answered
	LeastHold                  time.Duration // about the shortest hold of late: a short statement and its round trip
}

// Stats returns a snapshot.
func (s *Scheduler) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.core
	return Stats{
		Totals: k.totals,
		Held:   k.stock.held, Idle: len(k.stock.idle), Dialing: k.growth.dialing, Total: len(k.stock.all) + k.growth.dialing,
		Max: k.growth.max, Ceiling: k.growth.ceiling(), Limit: k.growth.limit, Room: k.growth.room(&k.queue), Tuning: k.growth.epochs.running, LimitReason: k.why, Queued: k.queue.len, Pressed: k.admission.isPressed(),
		DialTime: k.growth.dial.d, HoldTime: k.growth.hold.d, LeastHold: k.growth.leastHold.d, Service: k.admission.service.d, FailedInARow: k.outage.failures,
	}
}

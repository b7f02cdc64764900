package sched

import (
	"context"
	"time"
)

// Config is what New is told. Max and the functions must be set. MaxGroupTime and Group are called with the scheduler's lock held, the other
// functions without.
type Config struct {
	Max          int                  // connections
	MaxGroup     int                  // requests in a group; 0: one
	MaxGroupTime func() time.Duration // the sum of their costs
	Patience     time.Duration        // how long one without a deadline waits for a full server
	Fair         bool                 // under pressure each Traits.Key gets its part
	MaxQueue     int                  // requests that may wait; 0: any number
	MaxWait      time.Duration        // how long one without a deadline waits at all; 0: for ever

	Dial    func()                                          // begins one dial, which ends in Dialed or DialFailed
	Prepare func(context.Context, *Request) (Share, Traits) // nothing is idle: how can the request share (nil: it cannot), and what is known of it? See AskAgain
	Gone    func(*Request) error                            // why the request has no use for a connection any more, other than its ctx; nil: it has
	Done    func(*Request) <-chan struct{}                  // is closed when Gone changes; nil: that never happens
	Group   func(*Conn) *Group                              // only makes a group for the connection
	Carry   func(*Group)                                    // runs the group, and those that Next adds; then it calls Release or Drop
	Close   func(*Conn)                                     // closes a connection that nobody wants; Drop follows
	Send    func(*Conn)                                     // sends what the connection has to send; Release or Drop follows

	// If nil, those of packages time and math/rand.
	Now    func() time.Time
	After  func(time.Duration, func()) Timer
	Random func(time.Duration) time.Duration // less than that
}

// Totals are counted since New.
type Totals struct {
	Acquires     int64 // connections that were lent
	Canceled     int64 // requests whose ctx ended, or that Gone had a reason for
	Refused      int64 // requests that got a NoTimeError
	Waits        int64 // requests that were queued
	Waited       time.Duration
	Opened       int64
	FailedDials  int64
	RefusedDials int64 // those of them that found the server full
	Nested       int64 // requests that got a NestedError
}

// Stats is a snapshot.
type Stats struct {
	Totals

	Held, Idle, Dialing, Total int // connections; Total includes dials, and those that are being closed
	Max, Limit                 int
	Pressed                    bool // newest first, and the queue is kept short
	Queued                     int
	DialTime, HoldTime         time.Duration // moving averages
	FailedInARow               int           // dials, since the last one that succeeded
	Service                    time.Duration // moving average of the turns whose statement was answered
	LeastHold                  time.Duration // how long a connection is held at the least, lately: about a statement and its round trip
}

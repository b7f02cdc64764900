package sched

import (
	"context"
	"time"
)

// Config is what the scheduler is told once. All functions but Group are called without its lock, and must be there.
type Config struct {
	Max          int
	MaxGroup     int           // how many travel together at most
	MaxGroupTime time.Duration // how long they may be expected to take
	Patience     time.Duration // for a full server, without a deadline

	Dial    func()                                // begins one dial, which ends in Dialed or DialFailed
	Prepare func(context.Context, *Request) Share // nothing is idle: how the request can share; nil: not; see AskAgain
	Gone    func(*Request) error                  // why its connection is of no use any more, beside its ctx
	Done    func(*Request) <-chan struct{}        // is closed when that becomes so; nil: never
	Group   func(*Conn) *Group                    // makes one, and no more than that
	Carry   func(*Group)                          // has them travel, until Next is false; then Release or Drop
	Close   func(*Conn)                           // nobody wants it any more; Drop follows
	Send    func(*Conn)                           // has waited for company enough; Release or Drop follows

	// nil: the real ones.
	Now    func() time.Time
	After  func(time.Duration, func()) Timer
	Random func(time.Duration) time.Duration // less than that
}

// Totals are counted since New.
type Totals struct {
	Acquires     int64 // connections that were lent
	Canceled     int64 // requests whose ctx or invocation had ended
	Waits        int64 // requests that were queued
	Waited       time.Duration
	Opened       int64
	FailedDials  int64
	RefusedDials int64 // of these, for want of room
	Nested       int64 // requests that got a NestedError
}

// Stats is a snapshot.
type Stats struct {
	Totals

	Held, Idle, Dialing, Total int // connections; Total with those that are being closed, and dials
	Max, Limit                 int
	Queued                     int
	DialTime, HoldTime         time.Duration // moving averages
}

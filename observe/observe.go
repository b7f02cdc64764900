// Package observe has the events of a pool, and the interfaces of those who want to hear of them: metrics, traces, logs.
//
// An observer is a value that has one or more of the methods below. Config.Observers of package pool, or of package lmipool, takes any number of them.
// The pool looks once, when it is made, which methods each one has. An event that nobody wants costs nothing.
//
// What holds for every method:
//
//   - It is called by the goroutine in which the event happened, when the event is over, and without any lock. That goroutine waits until the method
//     returns. The comment of each interface says who waits then. So a method must be quick, and must not block: a channel that may be full, or a
//     network, belongs behind a goroutine of the observer's own.
//   - It may be called by several goroutines at once, and from different goroutines not in the order of the events' times.
//   - A panic in it is caught, counted in pool.Stat.PanicCount, and logged. The other observers are called all the same.
//   - ctx is the caller's, with its values (a trace's parent). It may have ended. Where the pool itself does the work (dials, resets, flights …) ctx has
//     the values of the ctx that New or Open was called with.
//   - A method may use the pool, with a ctx of its own that ends soon: it hears of its own calls too, and so must not use the pool for these. In
//     ObserveAcquire it waits for the connection that its caller has just got, if there is no other.
//   - Start and End are the true times, so that a span can be made afterwards.
//   - An event has no argument of a statement, no value of a setting, and no password. A statement's text may have literals in it: see Statement.Text.
//
// With Config.Plain only Shutdown is told, and by lmipool.Handler Overrun, Panic and StandDown, since pgxpool does all the rest.
package observe

import (
	"context"
	"net"
	"time"

	"github.com/lmipool/lmipool/internal/sqltext"
)

// AcquireObserver hears of each call's wait for a connection, with or without success. Its caller waits.
type AcquireObserver interface {
	ObserveAcquire(ctx context.Context, e Acquire)
}

// Acquire is one call's way to a connection, or to its place in a flight. A call that runs again, because its connection was lost, has one for each try.
type Acquire struct {
	Start, End time.Time // End is when the connection was there, or the call gave up; for a ride, when its flight took it along
	Waited     bool      // no connection was idle, so the call was queued
	Outcome    Outcome
	Err        error  // what the caller gets; nil if Outcome is Got or Rode
	For        string // what the connection is for: "statement", "query", "batch", "transaction" or "lease"
	Nested     bool   // the call was made inside a function of InTx, with that function's ctx
	RequestID  string // the name of the invocation's scope; "" outside a scope
}

// Outcome says how an acquire ended.
type Outcome string

// The outcomes of an acquire.
const (
	Got        Outcome = "got"      // the caller has a connection
	Rode       Outcome = "rode"     // the statement shared a connection with others, and is over
	Refused    Outcome = "refused"  // ErrNoTime: not enough time was left, or too many waited
	Canceled   Outcome = "canceled" // the caller's ctx ended
	Ended      Outcome = "ended"    // the invocation ended
	NestedWait Outcome = "nested"   // ErrNestedAcquire
	Closed     Outcome = "closed"   // the pool is closed
	Failed     Outcome = "failed"   // a dial or a hook failed, or the server is full or away
)

// ReleaseObserver hears when a user gives a connection back, or the pool takes it back. Whoever gave it back waits; the connection is free already.
type ReleaseObserver interface {
	ObserveRelease(ctx context.Context, e Release)
}

// Release is the whole time for which one user had a connection.
type Release struct {
	Start, End time.Time
	For        string   // as in Acquire, or "lane" for a flight
	Server     net.Addr // what the connection leads to
	RequestID  string
	TakenBack  bool // by the end of the invocation or of the pool
}

// StatementObserver hears of each statement, batch, COPY, BEGIN, COMMIT and ROLLBACK that got a connection. Its caller waits, and the lease or transaction on
// which the statement ran is busy until the method returns.
type StatementObserver interface {
	ObserveStatement(ctx context.Context, e Statement)
}

// SlowObserver hears of each statement that took longer than Config.ReportSlowAfter, like a StatementObserver, and of no other.
type SlowObserver interface {
	ObserveSlow(ctx context.Context, e Statement)
}

// Statement is one call of Exec, Query, QueryRow, SendBatch, CopyFrom, Begin, Commit or Rollback. What lmipool asks the server for itself has no events.
type Statement struct {
	Asked      time.Time     // when the call began
	Start, End time.Time     // from the first try's connection to the end of the last try; for Rows and batches, until they were closed
	Waited     time.Duration // how long the call waited for connections, in all its tries
	Op         Op
	SQL        string   // the text as the caller wrote it, without arguments; "" for a batch
	Rode       bool     // it shared a connection with other calls' reads
	Alone      string   // why it did not ride: "idle" if a connection was idle, "transaction", "lease", "off", "again", or a key of pool.LaneStat.Alone
	Tries      int      // how often it was sent; more than 1 if a ride ran again alone, or a connection was lost
	Rows       int64    // rows returned or changed; 0 for a batch
	Tag        string   // the server's command tag, such as "SELECT 1"
	Queries    int      // how many statements a batch has; otherwise 0
	Err        error    // what the caller gets
	Server     net.Addr // what the last connection leads to; nil if that is not known
	RequestID  string
}

// Op is what a call does.
type Op string

// The operations of a Statement.
const (
	Exec     Op = "exec"
	Query    Op = "query" // Query and QueryRow
	Batch    Op = "batch"
	Copy     Op = "copy"
	Begin    Op = "begin" // a BEGIN that InTx sends with its first statement is not told
	Commit   Op = "commit"
	Rollback Op = "rollback"
)

// Text returns e.SQL with each literal replaced by ?, and without comments: what may be shown, and what equal statements have in common.
func (e Statement) Text() string { return Text(e.SQL) }

// Text returns sql with each literal replaced by ?, and without comments. If sql cannot be read, what follows its readable part is left out. Text takes
// a microsecond or more: keep its results.
func Text(sql string) string { return sqltext.Normalize(sql) }

// InvocationObserver hears when an invocation's scope has ended. The invocation's reply waits.
type InvocationObserver interface {
	ObserveInvocation(ctx context.Context, e Invocation)
}

// Invocation is one invocation with its account. ctx is the one with which its scope was opened.
type Invocation struct {
	Start, End time.Time
	RequestID  string
	Usage      Usage
}

// FlightObserver hears of each pipeline of rides. Their callers have their answers already; those who wait for the same connection wait.
type FlightObserver interface {
	ObserveFlight(ctx context.Context, e Flight)
}

// Flight is one group of reads that were sent together, from sending to the last answer.
type Flight struct {
	Start, End time.Time
	Reads      int
	Server     net.Addr
	Err        error // why the connection was lost; nil if it was not
}

// DialObserver hears of each dial that is over, with its hooks. Nobody waits: the connection is in use already.
type DialObserver interface {
	ObserveDial(ctx context.Context, e Dial)
}

// Dial is one connection that was opened, or was not.
type Dial struct {
	Start, End time.Time
	Server     net.Addr // nil if the dial failed
	Err        error    // nil if it succeeded; it names the host
	Full       bool     // the server takes no more connections
	Away       bool     // no server answers, or none that writes where the pool needs a writer
}

// ResetObserver hears when a session is about to be reset. The user who gave the connection back waits, or nobody.
type ResetObserver interface {
	ObserveReset(ctx context.Context, e Reset)
}

// Reset is one session whose state is taken away before its next user's first statement.
type Reset struct {
	At     time.Time
	Reason ResetReason
	Server net.Addr
}

// ResetReason says what a user has left, or may have left, in a session.
type ResetReason string

// The reasons of a Reset.
const (
	LeftSession   ResetReason = "session"   // settings, cursors, advisory locks, channels or temporary tables
	LeftPrepared  ResetReason = "prepared"  // statements prepared in SQL
	LeftAnything  ResetReason = "anything"  // a statement ran of which it is not known what it leaves
	LeftSequences ResetReason = "sequences" // what currval and lastval return
)

// CancelObserver hears of each statement whose ctx had ended while it ran, when it is certain what became of it. The next user of the connection waits.
type CancelObserver interface {
	ObserveCancel(ctx context.Context, e Cancel)
}

// Cancel is the cancelling of one statement.
type Cancel struct {
	Start, End time.Time // from the end of the statement's ctx until the connection could be used again, or was given up
	Sent       bool      // a cancel request was sent; false if the answer came first
	Lost       bool      // the connection was given up
	Server     net.Addr
}

// LimitObserver hears when the number of connections changes that the pool may open without weighing. Whoever caused the change waits.
type LimitObserver interface {
	ObserveLimit(ctx context.Context, e Limit)
}

// Limit is one change of pool.Stat.Limit.
type Limit struct {
	At       time.Time
	From, To int
	Why      string // "demand", "idle", "fence", "full", "away", "ceiling", "fewer" or "more"
}

// RefusedObserver hears of each caller that was refused with ErrNoTime. That caller waits.
type RefusedObserver interface {
	ObserveRefused(ctx context.Context, e Refusal)
}

// Refusal has the numbers of pool.NoTimeError.
type Refusal struct {
	At        time.Time
	Reason    RefusalReason
	Waiting   int           // how many other callers waited
	Wait      time.Duration // how long those callers take on the connections that are open
	Service   time.Duration // how long the caller would have held its connection; 0 if that is not known
	Left      time.Duration // the time until the caller's deadline or the end of MaxWait
	RequestID string
}

// RefusalReason says why a caller was refused.
type RefusalReason string

// The reasons of a Refusal.
const (
	Late      RefusalReason = "late"     // not enough time is left
	MaxWait   RefusalReason = "max wait" // Config.MaxWait is over
	QueueFull RefusalReason = "full"     // Config.MaxQueue callers wait
	Pressure  RefusalReason = "pressure" // the queue is kept short, since callers who wait run out of time
)

// LeakObserver hears of each lease that the pool took back because its invocation had ended. The invocation's reply waits, but 10 ms at most.
type LeakObserver interface {
	ObserveLeak(ctx context.Context, e Leak)
}

// Leak is a lease, transaction or result that an invocation did not give back.
type Leak struct {
	At        time.Time
	For       string // as in Acquire
	Held      time.Duration
	SQL       string   // the statement that runs, or ran last, as in Statement
	Place     []string // where it was acquired: "file:line function", innermost first
	RequestID string
}

// OverrunObserver hears of each handler that did not return before its deadline, when lmipool.Handler replies in its place. The reply waits, so a method
// that blocks makes it late.
type OverrunObserver interface {
	ObserveOverrun(ctx context.Context, e Overrun)
}

// Overrun is a handler that did not return in time.
type Overrun struct {
	Start, At   time.Time // when the invocation came (zero for a stream), and when it was replied for
	Overrunning int       // how many handlers run on after their reply, this one included
	RequestID   string
}

// PanicObserver hears of each panic that was caught: of a handler, a hook, a tracer or of lmipool itself, but not of an observer.
type PanicObserver interface {
	ObservePanic(ctx context.Context, e Panic)
}

// Panic is a panic that was caught.
type Panic struct {
	At        time.Time
	In        string   // "a handler", or the name of the hook, such as "AfterConnect"
	Value     string   // what the code panicked with; it may say anything
	Place     []string // "file:line function", innermost first
	RequestID string
}

// FenceObserver hears when the pool gives up all connections because their server is no writer any more. The caller who found that out waits.
type FenceObserver interface {
	ObserveFence(ctx context.Context, e Fence)
}

// Fence is a change of the writer that the pool noticed.
type Fence struct {
	At     time.Time
	Why    string // "standby" or "read-only"
	Server net.Addr
	Idle   int // how many idle connections are closed at once; those in use are closed when they come back
}

// StandDownObserver hears when the process begins to end because of too many overruns or panics.
type StandDownObserver interface {
	ObserveStandDown(ctx context.Context, e StandDown)
}

// StandDown is the begin of the end of a process that is broken.
type StandDown struct {
	At     time.Time
	Why    string // "overruns" or "panics"
	Number int    // how many there were
}

// ShutdownObserver hears when a Shutdown or Close of the pool has returned, which waits for the method.
type ShutdownObserver interface {
	ObserveShutdown(ctx context.Context, e Shutdown)
}

// Shutdown is the end of a pool.
type Shutdown struct {
	Start, End time.Time
	Out        int // how many leases were not given back
	Err        error
}

package lmipool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lmipool/lmipool/internal/gostack"
	"github.com/lmipool/lmipool/internal/safelog"
	"github.com/lmipool/lmipool/internal/tell"
)

// These are the replies to invocations that come after the process has begun to end.
var (
	errStandingDown error = RefusedError("lmipool: this environment is standing down and takes no new work")
	errShuttingDown error = RefusedError("lmipool: this environment is shutting down and takes no new work")
)

// OverrunError is the reply for a handler that did not return before its deadline.
// Lambda shows its type as "OverrunError".
type OverrunError struct {
	After time.Duration // how long the handler had run when Handler replied for it
}

func (e *OverrunError) Error() string {
	return fmt.Sprintf("lmipool: the handler did not return within %s; it was answered for, shortly before its deadline", e.After.Round(time.Millisecond))
}

// Unwrap makes errors.Is(err, context.DeadlineExceeded) true.
func (e *OverrunError) Unwrap() error { return context.DeadlineExceeded }

// GoexitError is the reply for a handler that ended its goroutine without a reply, by runtime.Goexit, which testing's FailNow calls. Without Handler,
// aws-lambda-go would never reply.
type GoexitError struct{}

func (*GoexitError) Error() string {
	return "lmipool: the handler ended its goroutine (runtime.Goexit, or a test's FailNow) without a reply"
}

// # How an invocation lives
//
// On a managed instance, with a deadline D:
//
//	0                                     D − Margin          D − ReplyMargin        D
//	|---- fn, in a goroutine of its own ----|-- fn's ctx ended --|-- stand-in reply ----|  late: 410, the process exits
//
// Margin is a sixth of what is left until D, from 100 ms to 1 s, and ReplyMargin is half of Margin. Both grow with the measured lateness of this
// process (lateness.go): how long a handler's goroutine waits to run, how late a timer fires, and how long aws-lambda-go takes to send a reply that
// Handler has returned. (It cancels the invocation's ctx after that.) The worst of the last 15 to 30 s is HandlerStat.Lateness. If four times
// Lateness is more than half of Margin, ReplyMargin is four times Lateness, up to 3 s and a third of what is left. The factor is four because the
// timer and the reply are both late, and a burst of replies takes longer than the single ones that were measured. Margin grows by as much as
// ReplyMargin. Both are decided when the invocation comes, and again every 50 ms near its end.
//
// At D − ReplyMargin the scope ends (statements are cancelled, leases taken back). The reply is an *OverrunError or what OnOverrun returns. The
// handler runs on. A mark, which costs nothing until then, finds the handler's stack, which is logged. When the handler returns, its result
// is dropped, and closed if it is a stream.
//
// A panic becomes the JSON that aws-lambda-go would have sent, with the frames from gopanic to the handler and ShouldExit false.
//
// Lambda can still replace a broken environment. If more than MaxOverruns handlers run on after their reply, or more than MaxPanics panics came in 10
// s, one error is logged and new invocations are refused. The error replies then have ShouldExit, which makes aws-lambda-go finish what runs and
// exit. On other kinds of Lambda both protections are off: there the platform resets an environment by itself, and after a reply in the handler's
// place it would freeze the handler in the middle of its work. Code around the handler may replace the error that asks for the exit. An invocation
// that began more than 5 s after the first such reply shows that (standdown.go). Then the process closes its pool and exits with status 1 as soon as
// no invocation runs. When an invocation began is computed from its deadline, since the code around the handler may call it late. In lmitest.Call the
// process is never ended.
//
// Handler protects a pool that it finds in its db (door.go). db may be the pool itself, a Bound, a type with Unwrap, or a type that embeds a pool in
// an exported field. If Handler finds no pool, it warns once for each type.
//
// If the result is an io.Reader, the scope lasts until the reader is read, closed or cut. A goroutine reads it into a pipe, so that a hanging reader
// can be cut at D − Margin; aws-lambda-go then ends the response with its error trailer. In a response of package events the Body is replaced. A
// reader of the user's own type cannot be replaced: the stream is not cut, panics of the reader are not caught, and a warning names the type once.
//
// After SIGTERM (Start) new invocations are refused, the user's callbacks have 150 ms, and leases 100 ms to come back. On connections that are still
// in use after that, Terminate is sent, our half of the socket is shut, and a cancel request ends the statement. Lambda sends SIGKILL 500 to 600 ms
// after SIGTERM.

// bulkhead has the state that all invocations of a process share: how many handlers overrun, how often they panic, and whether the process is to end,
// so that Lambda replaces the environment.
type bulkhead struct {
	standIn, catchPanics bool
	margin, replyMargin  time.Duration // 0: computed from the time that the invocation has
	maxOverruns          int
	maxPanics            int
	onOverrun            func(ctx context.Context, in any) (any, error)
	onPanic              func(ctx context.Context, in, recovered any) (any, error)
	log                  *slog.Logger
	observers            *tell.Observers // nil if nobody wants to hear of anything
	seenPanics           atomic.Int64    // panics of observers
	profiles             gostack.Profiler
	tally                gostack.Tally // which lines of handlers that overran were logged
	absurd               sync.Once
	late                 lateness

	mu       sync.Mutex
	refusing error // if not nil, the error that new invocations get
	down     standDown
	panicked []time.Time // the panics of the last panicWindow
	stat     HandlerStat
}

// HandlerStat is a snapshot of what Handler did. Its JSON has names in snake case, and times in milliseconds.
type HandlerStat struct {
	// InFlight is how many invocations run now. An invocation whose stream is still being read counts.
	InFlight int `json:"in_flight"`
	// Durations has how many invocations got their reply, and how long that took. Replies that Handler made count, too, but not refused invocations.
	Durations DurationStat `json:"durations"`

	Overrunning int   `json:"overrunning"`  // handlers that run on after their reply
	Overruns    int64 `json:"overruns"`     // stand-in replies for handlers that were too slow, since Open
	Panics      int64 `json:"panics"`       // panics that were caught, since Open
	Refused     int64 `json:"refused"`      // invocations that were refused because the process is to end
	LateReplies int64 `json:"late_replies"` // replies that Handler returned before the deadline and that were sent after it, as far as measured

	// Lateness is the longest delay in the last 15 to 30 seconds: how long a handler's goroutine waited to run, how late a timer fired, or how long a
	// reply took to be sent (all replies in a handler's place are measured, and one ordinary reply at a time). Lateness grows when the CPU is busy.
	// Margins that are not set in Config grow with it: see [Config.Margin].
	Lateness time.Duration `json:"-"`
}

// MarshalJSON returns s as JSON, with Lateness in milliseconds.
func (s HandlerStat) MarshalJSON() ([]byte, error) {
	type numbers HandlerStat
	return json.Marshal(struct {
		numbers
		Lateness float64 `json:"lateness_ms"`
	}{numbers(s), safelog.Milliseconds(s.Lateness)})
}

// newBulkhead returns the bulkhead for c, whose switches and limits Config.settle must have set.
func newBulkhead(c *Config, observers []any) *bulkhead {
	b := &bulkhead{
		standIn:     c.StandIn == On,
		catchPanics: c.CatchPanics == On,
		margin:      c.Margin,
		replyMargin: c.ReplyMargin,
		maxOverruns: int(c.MaxOverruns),
		maxPanics:   int(c.MaxPanics),
		onOverrun:   c.OnOverrun,
		onPanic:     c.OnPanic,
		log:         c.Logger,
	}
	b.observers, _ = tell.New(observers, c.Logger, &b.seenPanics) // pool.New has returned the error, if there is one
	return b
}

// DeadlinePassedError is the reply to an invocation whose deadline had passed when it came. Its handler was not called. Lambda shows its type as
// "DeadlinePassedError".
type DeadlinePassedError struct {
	Ago time.Duration // since the deadline
}

func (e *DeadlinePassedError) Error() string {
	return fmt.Sprintf("lmipool: the invocation's deadline was over when it came, since %s; its handler was not begun", e.Ago.Round(time.Millisecond))
}

// Unwrap makes errors.Is(err, context.DeadlineExceeded) true.
func (*DeadlinePassedError) Unwrap() error { return context.DeadlineExceeded }

// SafeToRetry returns true, which makes Retryable true for the error.
func (*DeadlinePassedError) SafeToRetry() bool { return true }

// plan says how and when Handler protects one invocation.
type plan struct {
	protect  bool  // fn runs in a goroutine of its own
	standIn  bool  // Handler replies in fn's place at replyBy
	late     error // the reply if the deadline had passed when the invocation came, else nil
	absurd   bool  // there is no deadline, or it is so far from now that it counts as none
	undated  bool  // absurd, and in the past: fn gets a ctx without that deadline
	began    time.Time
	deadline time.Time
	lookAt   time.Time     // when the margins are decided again
	fnUntil  time.Time     // when fn's ctx ends; if zero, it ends with the invocation's ctx
	replyBy  time.Time     // when the stand-in replies
	spare    time.Duration // how long OnOverrun may run after replyBy
}

// absurd is how far from now a deadline must be to count as no deadline. No function's timeout is longer than 90 minutes, but emulators send
// deadlines of 0, deadlines in the past, and deadlines years away.
const absurd = 24 * time.Hour

func (b *bulkhead) plan(ctx context.Context) plan {
	p := plan{protect: b.standIn || b.catchPanics}
	deadline, ok := ctx.Deadline()
	if !ok {
		p.absurd = b.standIn
		return p
	}
	p.began = time.Now()
	switch left := deadline.Sub(p.began); {
	case left < -absurd:
		p.absurd, p.undated = true, true
	case !b.standIn:
	case left > absurd:
		p.absurd = true
	case left <= 0:
		p.late = &DeadlinePassedError{Ago: -left}
	default:
		p.standIn, p.deadline = true, deadline
		margin := b.decide(&p, b.late.at(p.began))
		most, _ := b.margins(left, maxReplyMargin)
		p.fnUntil, p.lookAt = deadline.Add(-margin), deadline.Add(-most)
	}
	return p
}

// decide sets when the stand-in replies, and returns how long before the deadline fn's ctx ends.
func (b *bulkhead) decide(p *plan, late time.Duration) (margin time.Duration) {
	margin, reply := b.margins(p.deadline.Sub(p.began), late)
	p.replyBy, p.spare = p.deadline.Add(-reply), reply/2
	return margin
}

// look decides the margins again near the deadline, since lateness may have grown since the invocation came. It reports whether fn's ctx must be
// cancelled now because Margin has grown.
func (b *bulkhead) look(p *plan) bool {
	now := time.Now()
	margin := b.decide(p, b.late.at(now))
	p.lookAt = now.Add(lookEvery)
	return now.Before(p.fnUntil) && p.deadline.Sub(now) <= margin
}

// lookEvery is how often the margins of an invocation are decided again.
const lookEvery = 50 * time.Millisecond

// sayAbsurd logs, once, that ctx has no deadline, or one that counts as none.
func (b *bulkhead) sayAbsurd(ctx context.Context) {
	b.absurd.Do(func() {
		deadline, ok := ctx.Deadline()
		if !ok {
			b.log.Warn("lmipool: an invocation's ctx has no deadline, so a handler that does not return is not answered for: what is around the handler must pass on the ctx of lambda.Start, and not context.Background or context.WithoutCancel")
			return
		}
		b.log.Warn("lmipool: an invocation's deadline is more than a day away, or past; it counts as none, and a handler that does not return is not answered for",
			slog.Time("deadline", deadline))
	})
}

// logAt logs message for a handler at place. One place has one line a minute at most, with the number of handlers since the last one.
func (b *bulkhead) logAt(level slog.Level, place, message string, attrs ...any) {
	if count, say := b.tally.Count(message, place, time.Now()); say {
		b.log.Log(context.Background(), level, message, append(attrs, count...)...)
	}
}

// giveUp begins the end of the process after a panic that is not caught. It logs nothing, since the panic was logged.
func (b *bulkhead) giveUp() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.beginLocked()
}

// shutDown refuses new invocations. It is called when the platform ends the process.
func (b *bulkhead) shutDown() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refusing == nil {
		b.refusing = errShuttingDown
	}
}

// returned measures how long aws-lambda-go takes to send a reply that is returned now. The end is seen because aws-lambda-go then cancels ctx.
// returned measures one ordinary reply at a time, and every reply in a handler's place.
func (b *bulkhead) returned(ctx context.Context, ordinary bool) {
	l := &b.late
	if ctx.Err() != nil || requestID(ctx) == "" || ordinary && !l.timing.CompareAndSwap(false, true) {
		return
	}
	began := time.Now()
	context.AfterFunc(ctx, func() {
		now := time.Now()
		l.saw(now.Sub(began))
		if ordinary {
			l.timing.Store(false)
		}
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			l.missed.Add(1)
			l.warned.Do(func() {
				deadline, _ := ctx.Deadline()
				b.log.Error("lmipool: a reply that had been returned was not sent by its deadline; on managed instances Lambda then ends the environment. The CPU is short: give the function more, or fewer invocations at once",
					safelog.Ms("returned_before_deadline", deadline.Sub(began)), safelog.Ms("lateness", l.at(now)), safelog.Request(requestID(ctx)))
			})
		}
	})
}

// margins returns how long before the deadline fn's ctx ends (margin) and the stand-in replies (reply). left is the time until the deadline, and late
// is the recent lateness. A reply after the deadline ends the process, so reply is at least 4*late: the timer and the reply may each be late by late,
// and if many handlers overrun at once, their replies take up to twice as long as those that were measured. Lateness makes reply no longer than 3 s
// and a third of left.
func (b *bulkhead) margins(left, late time.Duration) (margin, reply time.Duration) {
	margin = b.margin
	if margin == 0 {
		margin = min(max(left/6, 100*time.Millisecond), time.Second)
	}
	margin = min(margin, left/2)
	reply = b.replyMargin
	if reply == 0 {
		reply = margin / 2
		gap := margin - reply
		reply = max(reply, min(4*late, left/3, maxReplyMargin))
		if b.margin == 0 {
			margin = min(max(margin, reply+gap), left/2)
		}
	}
	return margin, min(reply, margin)
}

// maxReplyMargin bounds a ReplyMargin that is computed from lateness, so that a busy CPU leaves handlers some time.
const maxReplyMargin = 3 * time.Second

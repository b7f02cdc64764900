package lmipool

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/lmipool/lmipool/internal/gostack"
)

// What invocations get that arrive while the process is to end.
var (
	errStandingDown error = RefusedError("lmipool: this environment is standing down and takes no new work")
	errShuttingDown error = RefusedError("lmipool: this environment is shutting down and takes no new work")
)

// OverrunError is the reply for a handler that did not return before its deadline.
// Lambda shows its type as "OverrunError".
type OverrunError struct {
	After time.Duration // how long the handler had
}

func (e *OverrunError) Error() string {
	return fmt.Sprintf("lmipool: the handler did not return within %s; it was answered for, shortly before its deadline", e.After.Round(time.Millisecond))
}

// Unwrap makes errors.Is(err, context.DeadlineExceeded) true.
func (e *OverrunError) Unwrap() error { return context.DeadlineExceeded }

// GoexitError is the reply for a handler that ended its goroutine without a reply:
// runtime.Goexit, which testing's FailNow calls. Lambda's own loop would hang.
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
// Margin is a sixth of what is left until D, from 100 ms to 1 s, and ReplyMargin is half of Margin. Both are more while things are late in
// this process (lateness.go), which is measured: how long a handler's goroutine waits to run, how late a timer fires, and how long a reply takes from its return until
// aws-lambda-go cancels the invocation's ctx, which it does when the reply is sent. The worst of the last 15 to 30 s is
// HandlerStat.Lateness. ReplyMargin is four times that if it is more, since a timer and a reply are late, and a burst of replies takes longer
// than the single ones that were measured; at most a third of what is left, and 3 s. Margin is that much earlier. Both are decided when
// the invocation comes, and again every 50 ms near its end.
//
// At D − ReplyMargin the scope ends (statements are cancelled, leases taken back) and the reply is an *OverrunError or what OnOverrun makes. The
// handler runs on; its stack is logged, found by a profiler label, which costs nothing before. It is forgotten when it returns,
// and a stream that it returns is closed.
//
// A panic becomes the JSON that aws-lambda-go would have sent, with the frames from gopanic to the handler and ShouldExit false.
//
// Lambda's self-healing stays. More than MaxOverruns handlers at once that overran, or MaxPanics panics in 10 s: one loud line, refusals
// from then on, and ShouldExit in the error replies, by which aws-lambda-go finishes what runs and exits. Off managed instances
// both protections are off: the platform resets an on-demand environment by itself, and a reply in the handler's place would freeze it in the
// middle of its work. Whatever is around the handler may swallow the error that asks for the exit: an invocation that began 5 s after the first such
// reply shows that nobody has heard (standdown.go), and the process closes its pool and exits with 1 when nothing runs any more. When
// it began is told by its deadline, since what is around the handler may call it late. Never in lmitest.Call.
//
// What is protected (door.go) is a pool that Handler finds: With's Bound, what has Unwrap, what embeds one in an exported field. What it
// does not find is warned of once.
//
// A result that is an io.Reader keeps its scope until it is read, closed or cut. It is read by a goroutine into a pipe, so that a hanging source
// can be cut at D − Margin; aws-lambda-go then ends the response with its error trailer. In a response of package events the Body is
// replaced; a reader type of the user's own keeps its value, is neither cut nor kept from panicking, and is named once.
//
// SIGTERM (Start): no new work; callbacks of the user's, 150 ms at most; leases get 100 ms; then what still runs gets Terminate, the end of our half
// of the socket and a cancel request. Lambda's SIGKILL follows after 500 to 600 ms.

// bulkhead is what the invocations of one process have in common: who overruns, how
// often they panic, and whether it is time to let Lambda replace the environment.
type bulkhead struct {
	standIn, catchPanics bool
	margin, replyMargin  time.Duration // 0: by the time that the invocation has
	maxOverruns          int
	maxPanics            int
	onOverrun            func(ctx context.Context, in any) (any, error)
	onPanic              func(ctx context.Context, in, recovered any) (any, error)
	log                  *slog.Logger
	profiles             gostack.Profiler
	absurd               sync.Once
	late                 lateness

	mu       sync.Mutex
	refusing error // not nil: new invocations get it
	down     standDown
	panicked []time.Time // the panics of the last panicWindow
	stat     HandlerStat
}

// HandlerStat counts what Handler did. A snapshot. As JSON it has names in snake case, and Lateness in seconds.
type HandlerStat struct {
	Overrunning int   `json:"overrunning"`  // handlers that run on after their reply
	Overruns    int64 `json:"overruns"`     // replies in a handler's place, in all
	Panics      int64 `json:"panics"`       // panics that became error replies, in all
	Refused     int64 `json:"refused"`      // invocations refused because the process is to end
	LateReplies int64 `json:"late_replies"` // replies seen to miss the deadline, though the handler, or what stood in for it, had returned before

	// Lateness is the worst of the last 15 to 30 seconds of how late a handler's goroutine
	// began to run, a timer fired, or a reply was sent after it was returned (one reply at a
	// time is measured, and each in a handler's place). It grows when the CPU is short. The
	// margins that Config leaves to Handler grow with it: see [Config.Margin].
	Lateness time.Duration `json:"-"`
}

// MarshalJSON has Lateness in seconds.
func (s HandlerStat) MarshalJSON() ([]byte, error) {
	type numbers HandlerStat
	return json.Marshal(struct {
		numbers
		Lateness float64 `json:"lateness_seconds"`
	}{numbers(s), s.Lateness.Seconds()})
}

// HandlerStat returns what the handlers that were wrapped with p have come to.
func (p *Pool) HandlerStat() HandlerStat {
	b := p.bulkhead
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.stat
	s.LateReplies, s.Lateness = b.late.missed.Load(), b.late.at(time.Now())
	return s
}

// newBulkhead is for a c that is settled.
func newBulkhead(c *Config) *bulkhead {
	return &bulkhead{
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
}

// DeadlinePassedError is the reply to an invocation that came when its deadline was over:
// its handler was not begun. Lambda shows its type as "DeadlinePassedError".
type DeadlinePassedError struct {
	Ago time.Duration // since the deadline
}

func (e *DeadlinePassedError) Error() string {
	return fmt.Sprintf("lmipool: the invocation's deadline was over when it came, since %s; its handler was not begun", e.Ago.Round(time.Millisecond))
}

// Unwrap makes errors.Is(err, context.DeadlineExceeded) true.
func (*DeadlinePassedError) Unwrap() error { return context.DeadlineExceeded }

// SafeToRetry makes Retryable(err) true.
func (*DeadlinePassedError) SafeToRetry() bool { return true }

// plan is how much time an invocation has, and what is done about it.
type plan struct {
	protect  bool  // fn runs in a goroutine of its own
	standIn  bool  // and is answered for at replyBy
	late     error // not nil: the time is over
	absurd   bool  // the deadline is none
	undated  bool  // and has passed: fn gets a ctx without it
	began    time.Time
	deadline time.Time
	lookAt   time.Time     // when the margins are decided again
	fnUntil  time.Time     // when fn's ctx ends; zero: with the invocation's
	replyBy  time.Time     // when the stand-in replies
	spare    time.Duration // what OnOverrun may take beyond that
}

// absurd is more than any function's timeout (90 minutes). Emulators have been seen to send
// deadlines years away, of 0 and in the past; such a one is none.
const absurd = 24 * time.Hour

func (b *bulkhead) plan(ctx context.Context) plan {
	p := plan{protect: b.standIn || b.catchPanics}
	deadline, ok := ctx.Deadline()
	if !ok {
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

// look decides again, near the deadline: things may be later by now than when the invocation
// came. It reports whether fn's ctx is to end now, which is earlier than it would by itself.
func (b *bulkhead) look(p *plan) bool {
	now := time.Now()
	margin := b.decide(p, b.late.at(now))
	p.lookAt = now.Add(lookEvery)
	return now.Before(p.fnUntil) && p.deadline.Sub(now) <= margin
}

// lookEvery is how often the margins of an invocation are decided again.
const lookEvery = 50 * time.Millisecond

// sayAbsurd says once that ctx's deadline is none.
func (b *bulkhead) sayAbsurd(ctx context.Context) {
	b.absurd.Do(func() {
		deadline, _ := ctx.Deadline()
		b.log.Warn("lmipool: an invocation's deadline is more than a day away, or past; it counts as none, and a handler that does not return is not answered for",
			slog.Time("deadline", deadline))
	})
}

// giveUp begins the end of the process without a word: the panic says enough.
func (b *bulkhead) giveUp() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.beginLocked()
}

// shutDown refuses new invocations; the process is being ended by the platform.
func (b *bulkhead) shutDown() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refusing == nil {
		b.refusing = errShuttingDown
	}
}

// overran counts a handler that was answered for, and reports whether that is one
// too many.
func (b *bulkhead) overran() (exit bool) {
	b.mu.Lock()
	b.stat.Overruns++
	b.stat.Overrunning++
	n := b.stat.Overrunning
	first := n > b.maxOverruns && b.beginLocked()
	exit = b.down.begun
	b.mu.Unlock()
	if first {
		b.sayWhy("too many handlers overrun their deadline at once", "overrunning", n, "max_overruns", b.maxOverruns)
	}
	return exit
}

// cameBack forgets a handler that overran and has returned.
func (b *bulkhead) cameBack() {
	b.mu.Lock()
	b.stat.Overrunning--
	b.mu.Unlock()
}

// panicWindow is the time in which MaxPanics panics are still taken for bad luck.
const panicWindow = 10 * time.Second

// panics counts a panic, and reports whether that is one too many.
func (b *bulkhead) panics() (exit bool) {
	now := time.Now()
	b.mu.Lock()
	b.stat.Panics++
	for len(b.panicked) > 0 && now.Sub(b.panicked[0]) > panicWindow {
		b.panicked = b.panicked[1:]
	}
	b.panicked = append(b.panicked, now)
	n := len(b.panicked)
	first := n > b.maxPanics && b.beginLocked()
	exit = b.down.begun
	b.mu.Unlock()
	if first {
		b.sayWhy("too many handlers panic", "panics", n, "within", panicWindow, "max_panics", b.maxPanics)
	}
	return exit
}

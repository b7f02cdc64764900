package lmipool

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-lambda-go/lambda/messages"

	"github.com/lmipool/lmipool/internal/inprocess"
	"github.com/lmipool/lmipool/internal/safelog"
)

// standDown ends the process after too many overruns or panics. First the type of the error replies asks aws-lambda-go to exit. Code around the
// handler may replace that error (with a reply of status 500, a list of failed records, or an error that wraps it). Then the process would go on and
// refuse every invocation. So if an invocation begins more than 5 s after the first such reply, the process ends itself. bulkhead.mu guards all
// fields.
type standDown struct {
	exit    func() // ends the process; it is nil if Handler must not do that
	begun   bool   // error replies ask aws-lambda-go to exit
	asked   time.Time
	unheard bool
	ends    bool // exit will be called

	running int           // invocations that were not refused and have not returned their reply
	longest time.Duration // the longest time that an invocation had left when it came; at most the function's timeout
	latest  time.Time     // the latest deadline of an invocation that was not refused
}

const (
	// hearWithin is how long aws-lambda-go may take to stop polling after a reply that asks it to exit.
	hearWithin = 5 * time.Second
	// graceToReply is how long the process waits before it ends itself, so that replies can be sent.
	graceToReply = 100 * time.Millisecond
)

// beganAt returns when an invocation began. It computes that from the deadline, since code around the handler may run for some time before it calls
// the handler.
func (s *standDown) beganAt(ctx context.Context, now time.Time) time.Time {
	deadline, ok := ctx.Deadline()
	left := deadline.Sub(now)
	if !ok || left <= 0 || left > absurd {
		return now
	}
	s.longest = max(s.longest, left)
	return deadline.Add(-s.longest)
}

// enter counts an invocation until replied is called, with the time that enter returns. If the process is to end, enter returns the error that refuses
// the invocation.
func (b *bulkhead) enter(ctx context.Context) (now time.Time, err error) {
	now = time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	began := b.down.beganAt(ctx, now)
	if b.refusing == nil {
		b.down.running++
		if deadline, ok := ctx.Deadline(); ok && deadline.After(b.down.latest) && deadline.Sub(now) <= absurd {
			b.down.latest = deadline
		}
		return now, nil
	}
	b.stat.Refused++
	if !b.down.begun {
		return now, b.refusing
	}
	if !b.down.asked.IsZero() && began.Sub(b.down.asked) > hearWithin && b.down.exit != nil && !inprocess.Marked(ctx) {
		b.unheardLocked(now)
	}
	return now, b.askLocked(b.refusing)
}

// replied ends an invocation that enter has counted, and counts how long its reply took.
func (b *bulkhead) replied(began time.Time) {
	took := time.Since(began)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stat.Durations.add(took)
	b.down.running--
	b.endLocked()
}

// stay counts an invocation that has returned a stream a second time, until a second leave.
func (b *bulkhead) stay() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down.running++
}

// leave takes back one count of stay.
func (b *bulkhead) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down.running--
	b.endLocked()
}

// unheardLocked is called if aws-lambda-go has not exited. It ends the process as soon as no invocation runs, or 5 s after the last deadline, since
// with StandIn off a handler may hang for ever.
func (b *bulkhead) unheardLocked(now time.Time) {
	if b.down.unheard {
		return
	}
	b.down.unheard = true
	b.endLocked()
	if !b.down.ends && !b.down.latest.IsZero() {
		time.AfterFunc(b.down.latest.Sub(now)+hearWithin, func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.down.running = 0
			b.endLocked()
		})
	}
}

func (b *bulkhead) endLocked() {
	if b.down.unheard && b.down.running <= 0 && !b.down.ends {
		b.down.ends = true
		time.AfterFunc(graceToReply, b.down.exit)
	}
}

// ask turns err into an error that makes aws-lambda-go exit once it has sent it and has finished the other invocations in flight.
func (b *bulkhead) ask(err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.askLocked(err)
}

func (b *bulkhead) askLocked(err error) error {
	if b.down.asked.IsZero() {
		b.down.asked = time.Now()
	}
	r := messages.InvokeResponse_Error{}
	if !errors.As(err, &r) {
		r = messages.InvokeResponse_Error{Message: err.Error(), Type: errorType(err)}
	}
	r.ShouldExit = true
	return r
}

// beginLocked begins the end of the process: new invocations are refused. It returns true on the first call; then the caller logs the reason with
// sayWhy after it has unlocked mu.
func (b *bulkhead) beginLocked() (first bool) {
	first = !b.down.begun
	b.refusing, b.down.begun = errStandingDown, true
	return first
}

// sayWhy logs, as an error, why the process stands down.
func (b *bulkhead) sayWhy(why string, args ...any) {
	b.log.Error("lmipool: standing down: "+why+"; what runs is finished, then the process ends and Lambda replaces the environment", args...)
}

// overran counts a handler that overran, and reports whether the process is to end.
func (b *bulkhead) overran(ctx context.Context, began time.Time) (exit bool) {
	b.mu.Lock()
	b.stat.Overruns++
	b.stat.Overrunning++
	n := b.stat.Overrunning
	first := n > b.maxOverruns && b.beginLocked()
	exit = b.down.begun
	b.mu.Unlock()
	b.tellOverrun(ctx, began, n)
	if first {
		b.tellStandDown(ctx, "overruns", n)
		b.sayWhy("too many handlers overrun their deadline at once", "overrunning", n, "max_overruns", b.maxOverruns)
	}
	return exit
}

// cameBack takes a handler that overran, and has returned now, out of the count.
func (b *bulkhead) cameBack() {
	b.mu.Lock()
	b.stat.Overrunning--
	b.mu.Unlock()
}

// panics counts a panic, and reports whether the process is to end.
func (b *bulkhead) panics(ctx context.Context) (exit bool) {
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
		b.tellStandDown(ctx, "panics", n)
		b.sayWhy("too many handlers panic", "panics", n, safelog.Ms("within", panicWindow), "max_panics", b.maxPanics)
	}
	return exit
}

// panicWindow is the time within which more than MaxPanics panics make the process stand down.
const panicWindow = 10 * time.Second

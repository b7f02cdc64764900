package lmipool

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda/messages"

	"github.com/lmipool/lmipool/internal/inprocess"
)

// standDown is the end of the process, when invocations have shown that it is time. The
// replies ask aws-lambda-go for it, by the type of their error. Whatever is around the
// handler may swallow that (a reply with status 500, a list of records that failed, an
// error that wraps it); then invocations go on to arrive, and each would be refused, for
// ever. So one that began 5 s after the first such reply shows that nobody has heard, and
// the process ends itself. bulkhead.mu guards all fields.
type standDown struct {
	exit    func() // ends the process; nil where that is not ours to do
	begun   bool   // replies ask for the end
	asked   time.Time
	unheard bool
	ends    bool // exit is on its way

	running int           // invocations that were let in, and whose reply is not out yet
	longest time.Duration // the most time that one has had: at most the function's timeout
	latest  time.Time     // the latest deadline of one that was let in
}

const (
	// hearWithin is how long aws-lambda-go may take from such a reply to the end of its polls.
	hearWithin = 5 * time.Second
	// graceToReply is for the refusals that are on their way when the process ends itself.
	graceToReply = 100 * time.Millisecond
)

// beganAt is when an invocation began, as far as its deadline tells: what is around the
// handler may take its time before it calls it.
func (s *standDown) beganAt(ctx context.Context, now time.Time) time.Time {
	deadline, ok := ctx.Deadline()
	left := deadline.Sub(now)
	if !ok || left <= 0 || left > absurd {
		return now
	}
	s.longest = max(s.longest, left)
	return deadline.Add(-s.longest)
}

// enter lets an invocation in, whose end is leave, or refuses it while the process is to end.
func (b *bulkhead) enter(ctx context.Context) error {
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	began := b.down.beganAt(ctx, now)
	if b.refusing == nil {
		b.down.running++
		if deadline, ok := ctx.Deadline(); ok && deadline.After(b.down.latest) && deadline.Sub(now) <= absurd {
			b.down.latest = deadline
		}
		return nil
	}
	b.stat.Refused++
	if !b.down.begun {
		return b.refusing
	}
	if !b.down.asked.IsZero() && began.Sub(b.down.asked) > hearWithin && b.down.exit != nil && !inprocess.Marked(ctx) {
		b.unheardLocked(now)
	}
	return b.askLocked(b.refusing)
}

// stay keeps an invocation that has returned a stream, until another leave.
func (b *bulkhead) stay() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down.running++
}

// leave is the end of an invocation that was let in.
func (b *bulkhead) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down.running--
	b.endLocked()
}

// unheardLocked ends the process when nothing runs any more, or when what runs has no time
// left: without a stand-in a handler may hang for ever.
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

// ask makes err one that ends aws-lambda-go's loop once it is sent: the other invocations
// in flight are finished, and the process exits.
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

// beginLocked begins the end of the process: new invocations are refused. It reports whether it
// had not begun; then the caller says why, with sayWhy, once mu is free.
func (b *bulkhead) beginLocked() (first bool) {
	first = !b.down.begun
	b.refusing, b.down.begun = errStandingDown, true
	return first
}

// sayWhy is the one loud line of standing down.
func (b *bulkhead) sayWhy(why string, args ...any) {
	b.log.Error("lmipool: standing down: "+why+"; what runs is finished, then the process ends and Lambda replaces the environment", args...)
}

// endProcess ends a process that should have ended.
func (p *Pool) endProcess() {
	b := p.bulkhead
	b.mu.Lock()
	asked, refused := b.down.asked, b.stat.Refused
	b.mu.Unlock()
	b.log.Error("lmipool: standing down was not heard: invocations still arrive. "+
		"Something around the handler swallows the error that asks aws-lambda-go to exit (a reply with status 500, a list of failed records, a wrapped error): "+
		"put it inside, as the function that Handler or Wrap is given. The process ends now",
		slog.Duration("asked_ago", time.Since(asked)), slog.Int64("refused", refused))
	p.closeWithin("standing down")
	os.Exit(1)
}

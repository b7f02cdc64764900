package pool

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"github.com/lmipool/lmipool/internal/isolation"
	"github.com/lmipool/lmipool/internal/lane"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/sched"
	"github.com/lmipool/lmipool/internal/sqltext"
	"github.com/lmipool/lmipool/observe"
)

// The functions here make the events of package observe of what the pool knows. They are called without locks. Those that are called where time counts,
// or with arguments that cost something, are called only if there are observers.

// tellAcquire tells that obtain has given l a connection or a ride, or failed with err.
func (p *Pool) tellAcquire(ctx context.Context, l *Lease, err error) {
	e := observe.Acquire{Start: l.wish.Asked, End: l.wish.Asked.Add(l.waited), Waited: l.wish.Waited(), Err: err, For: l.word(), Nested: l.wish.Within != nil, RequestID: l.scope.id()}
	switch {
	case l.ride != nil: // err is the statement's own error
		e.Outcome, e.Err = observe.Rode, nil
	case err == nil:
		e.Outcome = observe.Got
		if l.since.After(e.End) { // it was a ride first
			e.End = l.since
		}
	default:
		e.Outcome, e.End = outcomeOf(ctx, err), time.Now()
	}
	p.observers.Acquire(ctx, e)
}

// outcomeOf returns how an acquire has ended that failed with err.
func outcomeOf(ctx context.Context, err error) observe.Outcome {
	for _, is := range [...]struct {
		err     error
		outcome observe.Outcome
	}{{ErrNoTime, observe.Refused}, {ErrNestedAcquire, observe.NestedWait}, {ErrClosed, observe.Closed}, {ErrInvocationEnded, observe.Ended}} {
		if errors.Is(err, is.err) {
			return is.outcome
		}
	}
	if ctx.Err() != nil {
		return observe.Canceled
	}
	return observe.Failed
}

func (p *Pool) tellRelease(what string, since time.Time, server net.Addr, scope string, why leaseState) {
	p.observers.Release(p.ctx, observe.Release{Start: since, End: time.Now(), For: what, Server: server, RequestID: scope, TakenBack: why != leaseReleased})
}

func (p *Pool) tellDial(start time.Time, server net.Addr, err error, lacks sched.Lack) {
	if p.observers != nil {
		p.observers.Dial(p.ctx, observe.Dial{Start: start, End: time.Now(), Server: server, Err: err, Full: lacks.Full, Away: lacks.Err != nil && !lacks.Full})
	}
}

func (p *Pool) tellFlight(f lane.Flown) {
	p.observers.Flight(p.ctx, observe.Flight{Start: f.Start, End: time.Now(), Reads: f.Reads, Server: f.Server, Err: f.Lost})
}

// tellReset counts a reset, and tells of it.
func (p *Pool) tellReset(s *isolation.Session, left sqltext.Trace) {
	p.stats.resets.Add(1)
	if p.observers == nil {
		return
	}
	why := observe.LeftAnything
	switch left {
	case sqltext.SequenceTrace:
		why = observe.LeftSequences
	case sqltext.SessionTrace:
		why = observe.LeftSession
	case sqltext.PreparedTrace:
		why = observe.LeftPrepared
	}
	p.observers.Reset(p.ctx, observe.Reset{At: time.Now(), Reason: why, Server: s.PG.PgConn().Conn().RemoteAddr()})
}

// limitMoved logs a move of the limit under load, if it is large, and tells the observers of every move.
func (p *Pool) limitMoved(m sched.Move) {
	much := (m.Why == sched.MovedToFewer || m.Why == sched.MovedToMore) && 3*max(m.From-m.To, m.To-m.From) >= m.From && max(m.From, m.To) > logFrom
	if much {
		p.log.Info("lmipool: the limit has moved: under load as many callers, or more, are answered with the new number of connections",
			slog.Int("from", m.From), slog.Int("to", m.To))
	}
	if p.observers != nil {
		p.observers.Limit(p.ctx, observe.Limit{At: time.Now(), From: m.From, To: m.To, Why: m.Why})
	}
}

// logFrom is the limit up to which moves are not logged: between 2 and 4 connections each move is large.
const logFrom = 4

func (p *Pool) tellRefused(ctx context.Context, l *Lease, e *sched.NoTimeError) {
	if p.observers != nil {
		p.observers.Refused(ctx, observe.Refusal{
			At: time.Now(), Reason: observe.RefusalReason(e.Reason()), Waiting: e.Queued, Wait: e.Wait, Service: e.Service, Left: e.Left, RequestID: l.scope.id(),
		})
	}
}

func (p *Pool) tellLeak(what kind, h *Holder) {
	if p.observers != nil {
		p.observers.Leak(p.ctx, observe.Leak{At: time.Now(), For: what.String(), Held: h.Held, SQL: h.Doing, Place: h.Stack, RequestID: h.Scope})
	}
}

func (p *Pool) tellFence(c *conn, why error, idle int) {
	if p.observers == nil {
		return
	}
	e := observe.Fence{At: time.Now(), Why: "standby", Server: c.server(), Idle: idle}
	if errors.Is(why, pgerr.ErrReadOnlyServer) {
		e.Why = "read-only"
	}
	p.observers.Fence(p.ctx, e)
}

func (p *Pool) tellShutdown(ctx context.Context, start time.Time, err error) {
	if p.observers == nil {
		return
	}
	e := observe.Shutdown{Start: start, End: time.Now(), Err: err}
	if out := (*ShutdownError)(nil); errors.As(err, &out) {
		e.Out = len(out.Out)
	}
	p.observers.Shutdown(ctx, e)
}

// tellInvocation tells that the invocation of s has ended, and logs it if it was slow.
func (p *Pool) tellInvocation(s *Scope) {
	end := time.Now()
	p.reportInvocation(s, end)
	if p.observers.WantInvocations() {
		p.observers.Invocation(s.ctx.Context, observe.Invocation{Start: s.began, End: end, RequestID: s.name, Usage: s.account.Usage()})
	}
}

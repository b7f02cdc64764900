package pool

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/isolation"
	"github.com/lmipool/lmipool/internal/lane"
	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/pgcancel"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/sched"
	"github.com/lmipool/lmipool/internal/sqltext"
	"github.com/lmipool/lmipool/internal/tell"
	"github.com/lmipool/lmipool/observe"
)

// The functions here make the events of package observe of what the pool knows. They are called without locks. Those that are called where time counts,
// or with arguments that cost something, are called only if there are observers.

// ifObserved returns f if there are observers, else nil.
func ifObserved[F any](o *tell.Observers, f F) (_ F) {
	if o != nil {
		return f
	}
	return
}

// tellAcquire tells that obtain has given l a connection or a ride, or failed with err.
func (p *Pool) tellAcquire(ctx context.Context, l *Lease, err error) {
	e := observe.Acquire{Start: l.wish.Asked, End: l.wish.Asked.Add(l.waited), Waited: l.wish.Waited(), Err: err, For: l.word(), Nested: l.wish.Within != nil, RequestID: l.scope.id()}
	switch {
	case l.ride != nil: // err is the statement's own error
		e.Outcome, e.Err = observe.Rode, nil
	case err == nil:
		e.Outcome, e.End = observe.Got, l.since
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

func (w *workers) tellCancel(o pgcancel.Over) {
	w.observers.Cancel(w.ctx, observe.Cancel{Start: o.Since, End: time.Now(), Sent: o.Sent, Lost: o.Lost, Server: o.Server})
}

func (p *Pool) tellLimit(m sched.Move) {
	p.observers.Limit(p.ctx, observe.Limit{At: time.Now(), From: m.From, To: m.To, Why: m.Why})
}

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

// meter follows one call of a statement through its tries, for the event and the account of the call. It stays in its caller's frame.
type meter struct {
	asked  time.Time // when the call began
	start  time.Time // when it was sent for the first time
	waited time.Duration
	tries  int // how often it was sent
	rode   bool
	alone  string
	server net.Addr
	scope  *Scope
}

// obtained notes what came of obtain for l, which has returned err.
func (m *meter) obtained(l *Lease, err error) {
	m.scope = l.scope
	if m.asked.IsZero() {
		m.asked = l.wish.Asked
	}
	if err != nil && l.ride == nil && !l.repeats { // it was not sent
		m.waited += time.Since(l.wish.Asked)
		return
	}
	m.waited += l.waited
	m.tries++
	if m.start.IsZero() {
		m.start = l.wish.Asked.Add(l.waited)
	}
	switch m.rode, m.alone = l.ride != nil || err != nil, l.why; {
	case l.ride != nil:
		_, m.server = l.ride.Sent()
		return
	case m.rode: // and was to run again
		return
	case l.repeats:
		m.tries++
		m.alone = aloneAgain
	case m.tries > 1:
		m.alone = aloneAgain
	case m.alone == "" && l.wish.Waited():
		m.alone = aloneOff
	case m.alone == "":
		m.alone = aloneIdle
	}
	if l.p.observers != nil {
		m.server = l.c.server()
	}
}

// Why a statement did not ride, beside the reasons of package catalog.
const (
	aloneIdle  = "idle"
	aloneAgain = "again"
	aloneOff   = "off"
)

// inLease returns the meter of a statement that begins now on l.
func (l *Lease) inLease() meter {
	now := time.Now()
	m := meter{asked: now, start: now, tries: 1, alone: l.word(), scope: l.scope}
	if l.p.observers != nil {
		m.server = l.c.server()
	}
	return m
}

// running is a call that runs. The zero value tells nothing.
type running struct {
	meter
	p       *Pool
	ctx     context.Context
	op      observe.Op
	sql     string
	queries int   // of a batch
	copied  int64 // rows of a COPY
}

// runs returns the call of m, which is about to be sent on l.
func (l *Lease) runs(ctx context.Context, m meter, op observe.Op, sql string) running {
	return running{meter: m, p: l.p, ctx: ctx, op: op, sql: sql}
}

// over tells, once, that r has ended.
func (r *running) over(tag pgconn.CommandTag, err error) {
	if r.p != nil {
		r.p.ran(r, tag, err)
		r.p = nil
	}
}

// fails tells that r, a Query, has failed with err, and returns what Query returns.
func (r *running) fails(err error) (pgx.Rows, error) {
	r.over(pgconn.CommandTag{}, err)
	return memrows.FailedRows(err), err
}

// ran tells that r has ended, with err if that is not nil.
func (p *Pool) ran(r *running, tag pgconn.CommandTag, err error) {
	if p.observers == nil || r.tries == 0 {
		return
	}
	p.observers.Statement(r.ctx, observe.Statement{
		Asked: r.asked, Start: r.start, End: time.Now(), Waited: r.waited, Op: r.op, SQL: r.sql, Rode: r.rode, Alone: r.alone, Tries: r.tries,
		Rows: r.copied + tag.RowsAffected(), Tag: tag.String(), Queries: r.queries, Err: err, Server: r.server, RequestID: r.scope.id(),
	})
}

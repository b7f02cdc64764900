package pool

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/pgxargs"
	"github.com/lmipool/lmipool/internal/session"
)

// ride is a read on its way through a lane: made in its caller's goroutine, queued,
// taken by a lane, and handed back with its result by the scheduler's answer.
type ride struct {
	st      *catalog.Statement
	desc    *catalog.Description     // what eqb is encoded for
	by      facts.Proven             // what says that it may ride
	eqb     pgx.ExtendedQueryBuilder // the encoded arguments
	expect  time.Duration            // on the server
	p       *Pool
	ctx     context.Context   // the caller's, for the tracer
	with    *session.Settings // what it runs with; nil: nothing
	sql     string            // as the caller wrote it
	text    string            // what the server gets: st's, but for comments
	args    []any
	traced  context.Context // what TraceQueryStart returned when it was sent; nil: no tracer
	flushed chan struct{}   // closed when what was sent has left us; set before state says so
	state   atomic.Uint32   // waiting, sent or given up

	// the lane's until the grant, then the caller's
	result  memrows.Result
	types   *memrows.Set // of the connection that carried it
	outcome outcome
}

// Who was first, the lane that sends a statement or the caller who gives it up?
// What is given up is not sent; what was sent is read, and dropped.
const (
	rideWaiting uint32 = iota
	rideSent
	rideGivenUp
)

type aloneKey struct{}

// Alone returns a ctx whose statements never share a connection with those of
// another invocation.
func Alone(ctx context.Context) context.Context {
	return context.WithValue(ctx, aloneKey{}, true)
}

// rideFor prepares l's statement for a lane, in the caller's goroutine, when no
// connection is idle. It returns nil if the statement goes alone.
func (p *Pool) rideFor(ctx context.Context, l *Lease) *ride {
	r, why := p.classify(ctx, l)
	switch {
	case why != "":
		p.lanes.alone.Count(why)
		return nil
	case p.cfg.Lanes == LanesShadow:
		p.lanes.shadow.Add(1)
		return nil
	}
	r.p, r.ctx, r.with, r.sql, r.args = p, ctx, l.with, l.sql, l.args
	return r
}

func (p *Pool) classify(ctx context.Context, l *Lease) (r *ride, why string) {
	if ctx.Value(aloneKey{}) != nil || l.scope.holdsLease() || l.wish.Within != nil {
		return nil, catalog.AloneAsked
	}
	if !l.with.Custom() { // it may mean another statement, or undo the guard
		return nil, catalog.AloneWith
	}
	o := pgxargs.Parse(l.args)
	if !o.Few() {
		return nil, catalog.AloneArgs
	}
	sql, args, ok := o.Rewritten(ctx, l.sql)
	if !ok {
		return nil, catalog.AloneArgs
	}
	if len(sql) > catalog.MaxText {
		return nil, catalog.AloneText
	}
	st := p.lanes.catalog.Find(sql, l.with.Key())
	l.st = st
	desc, by, expect, why := st.Shareable()
	switch why {
	case "", catalog.AloneNew, catalog.AloneSlow, catalog.AloneLarge: // it rides, or may yet
		l.timed = true
	}
	if why != "" {
		return nil, why
	}
	r = p.lanes.spare.ride()
	r.st, r.desc, r.by, r.expect, r.text = st, desc, by, expect, sql
	// What cannot be encoded here is pgx's to judge, and to word.
	if len(args) != len(desc.ParamOIDs) {
		return nil, catalog.AloneArgs
	}
	if !desc.Encode(&r.eqb, args) {
		st.Doubt(desc)
		return nil, catalog.AloneArgs
	}
	size := 0
	for _, v := range r.eqb.ParamValues {
		size += len(v)
	}
	if size > catalog.Large {
		return nil, catalog.AloneLarge
	}
	return r, ""
}

// rode takes the outcome of l's ride, and says whether that was it. Otherwise l
// goes on to get a connection, in front of the queue: its turn had come.
func (l *Lease) rode(ctx context.Context) (done bool, err error) {
	r, n := l.ride, l.p.lanes
	switch r.outcome {
	case outcomeOwn:
		r.traceEnd(r.result.Err())
		return true, nil
	case outcomeNone:
		l.goesForItself()
		return false, nil
	case outcomeLost:
		if l.p.cfg.NoRerun {
			r.traceEnd(r.result.Err())
			return true, fmt.Errorf("lmipool: the connection was lost: %w", r.result.Err())
		}
		sleep(ctx, afterLoss)
	}
	n.reruns.Add(1)
	r.traceEnd(r.result.Err())
	l.goesForItself()
	l.repeats = true
	return false, ctx.Err()
}

// trace calls TraceQueryStart when r is about to be sent, on the lane's goroutine.
func (r *ride) trace() {
	if t := r.p.cfg.Tracer; t != nil {
		r.p.protect("TraceQueryStart", func() {
			r.traced = t.TraceQueryStart(r.ctx, r.p.ended.First(), pgx.TraceQueryStartData{SQL: r.sql, Args: r.args})
		})
	}
}

// traceEnd calls TraceQueryEnd, if TraceQueryStart was called.
func (r *ride) traceEnd(err error) {
	if r.traced == nil {
		return
	}
	end := pgx.TraceQueryEndData{Err: err}
	if err == nil {
		end.CommandTag = r.result.Tag()
	}
	r.p.cfg.Tracer.TraceQueryEnd(r.traced, r.p.ended.First(), end)
}

// lose says that its connection was lost.
func (r *ride) lose(err error) {
	r.outcome = outcomeLost
	r.result.Fail(err)
}

// catchUp has r ask for what its statement returns by now, if it was described anew while r
// waited and takes what r's arguments are encoded for. The lane calls it.
func (r *ride) catchUp(pairs *memrows.Pairs) {
	if d := r.st.Description(); d != nil && d != r.desc && r.desc.TakesTheSame(d, pairs) {
		r.desc, r.eqb.ResultFormats = d, d.Formats
	}
}

// takeResult is the result of a statement that rode, the types that decode it, and the end of l. rode is false if l has a
// connection instead.
func (l *Lease) takeResult() (result memrows.Result, types *memrows.Set, rode bool) {
	r := l.ride
	if r == nil {
		return result, nil, false
	}
	result, types = r.result, r.types
	l.p.lanes.spare.take(l, r)
	return result, types, true
}

// goAlone is for a statement that was to ride and got a connection for itself.
func (l *Lease) goAlone() {
	l.p.lanes.alone.Count(catalog.AloneOnly)
	l.goesForItself()
}

// goesForItself has l want a connection of its own from now on.
func (l *Lease) goesForItself() {
	l.ride = nil
	l.wish.Alone()
}

// gaveUp is for one whose caller stopped waiting. It was sent if it was too late
// to call it back.
func (l *Lease) gaveUp(err error) {
	if l.ride.state.Load() == rideSent {
		l.ride.traceEnd(err)
	}
	l.ride = nil
}

// answered notes how long a statement took that went alone, once.
func (l *Lease) answered(err error) {
	if l.timed && l.took == 0 && err == nil {
		l.took = time.Since(l.since)
	}
}

// graceToSend bounds the wait in leave.
const graceToSend = 20 * time.Millisecond

// leave waits until what is being sent has left, so that nothing is sent after its
// caller has gone: a moment, unless the network takes nothing any more.
func (r *ride) leave() {
	select {
	case <-r.flushed:
	case <-time.After(graceToSend):
	}
}

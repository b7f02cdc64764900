package pool

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/lane"
	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/pgxargs"
)

type aloneKey struct{}

// Alone returns a ctx whose statements never share a connection with those of another invocation.
func Alone(ctx context.Context) context.Context {
	return context.WithValue(ctx, aloneKey{}, true)
}

// spareLeases are those of statements that have ridden, zero, to be used again, as their rides are. A lease that was lent a connection is not among
// them: housekeeping may still look at it.
var spareLeases = sync.Pool{New: func() any { return &Lease{} }}

func spareLease() *Lease { return spareLeases.Get().(*Lease) }

// rideFor prepares l's statement for a lane, in the caller's goroutine, when no connection is idle. It returns nil if the statement goes alone.
func (l *Lease) rideFor(ctx context.Context) *lane.Ride {
	r, why := l.encode(ctx)
	if why != "" {
		l.p.stats.goesAlone(why)
	} else if l.p.cfg.Lanes == LanesShadow {
		l.p.stats.wouldRide()
		r = nil
	}
	l.ride = r
	return r
}

// gaveUp is for one whose caller has stopped waiting.
func (s *stmt) gaveUp() { s.ride = nil }

func (l *Lease) encode(ctx context.Context) (r *lane.Ride, why string) {
	o := pgxargs.Parse(l.args)
	switch {
	case ctx.Value(aloneKey{}) != nil || l.scope.holdsLease() || l.wish.Within != nil:
		return nil, catalog.AloneAsked
	case !l.with.Custom(): // it may mean another statement, or undo the guard
		return nil, catalog.AloneWith
	case !o.Few():
		return nil, catalog.AloneArgs
	}
	sql, args, ok := o.Rewritten(ctx, l.sql)
	if !ok {
		return nil, catalog.AloneArgs
	} else if len(sql) > catalog.MaxText {
		return nil, catalog.AloneText
	}
	l.st = l.p.lanes.Catalog.Find(sql, l.with.Key())
	r, l.timed, why = l.p.lanes.Encode(lane.Call{Ctx: ctx, SQL: l.sql, Args: l.args, With: l.with}, l.st, sql, args)
	return r, why
}

// rode takes the outcome of l's ride, and says whether that was it. Otherwise l goes on to get a connection, in front of the queue: its turn had come.
func (l *Lease) rode(ctx context.Context) (done bool, err error) {
	outcome, err := l.ride.End()
	switch outcome {
	case lane.Own:
		return true, nil
	case lane.Unsent:
		l.goesForItself()
		return false, nil
	case lane.Lost:
		if l.p.cfg.NoRerun {
			return true, fmt.Errorf("lmipool: the connection was lost: %w", err)
		}
		sleep(ctx, afterLoss)
	}
	l.p.stats.runsAgain()
	l.goesForItself()
	l.repeats = true
	return false, ctx.Err()
}

// takeResult is the result of a statement that rode, the types that decode it, and the end of l. rode is false if l has a connection instead.
func (l *Lease) takeResult() (result memrows.Result, types *memrows.Set, rode bool) {
	if l.ride == nil {
		return result, nil, false
	}
	result, types = l.ride.Take()
	if l.ride = nil; !l.lentOnce {
		*l = Lease{}
		spareLeases.Put(l)
	}
	return result, types, true
}

// goesForItself has l want a connection of its own from now on.
func (l *Lease) goesForItself() {
	l.ride = nil
	l.wish.Alone()
}

// answered notes how long a statement took that went alone, once.
func (l *Lease) answered(err error) {
	if l.timed && l.took == 0 && err == nil {
		l.took = time.Since(l.since)
	}
}

// observed is called with the end of a lease whose statement went alone while others waited. It notes how long that took, and has it looked at if it is new.
func (l *Lease) observed() {
	if l.took <= 0 {
		return
	}
	l.st.Took(l.took - l.p.sched.LeastHold())
	if l.c.lane != nil && l.st.Wants() {
		l.use.Ask(l.st)
	}
}

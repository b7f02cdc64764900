package pool

import (
	"context"
	"fmt"
	"time"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/lane"
	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/pgxargs"
	"github.com/lmipool/lmipool/internal/sched"
)

type aloneKey struct{}

// Alone returns a ctx with which no statement rides: each statement has a connection for itself.
func Alone(ctx context.Context) context.Context { return context.WithValue(ctx, aloneKey{}, true) }

// traits returns what the scheduler has to know of l, which begins to wait. rideFor was called before.
func (l *Lease) traits(ctx context.Context) (t sched.Traits) {
	t.Holds = l.scope.holds(true)
	for w := l.wish.Within; w != nil; w = w.Outer {
		t.Holds = t.Holds || w.Holds != nil
	}
	if l.st != nil {
		t.Expect = l.st.Expected()
	}
	if by := l.p.cfg.FairBy; by != nil {
		l.p.protect("FairBy", func() { t.Key = by(ctx) })
	}
	return t
}

// rideFor encodes l's statement for a lane, or returns nil if it goes alone. It is called when none is idle, and again when the catalog has learned more.
func (l *Lease) rideFor(ctx context.Context) sched.Share {
	if !l.wish.MayShare {
		return nil
	}
	l.ride, l.why = l.encode(ctx)
	switch {
	case l.ride == nil:
		return nil
	case l.p.cfg.Lanes == Shadow:
		l.ride, l.why = nil, wouldRide
		return nil
	}
	return l.ride
}

// wouldRide is the reason why a statement goes alone if the only reason is that Lanes is Shadow.
const wouldRide = "shadow"

// goesAlone is called when l was lent c. If l's statement had found no idle connection, goesAlone counts the reason why it did not ride.
func (l *Lease) goesAlone(c *conn) {
	if !l.repeats {
		l.waited = max(0, c.place.Since().Sub(l.wish.Asked)) // whoever gave c back may have read the clock before l asked
	}
	switch {
	case l.ride != nil:
		l.why = catalog.AloneOnly
		l.p.stats.alone.Count(l.why)
		l.goesForItself()
	case l.counted:
	case l.why == wouldRide:
		l.p.stats.shadow.Add(1)
	case l.why != "":
		l.p.stats.alone.Count(l.why)
		if l.why == catalog.AloneCalls {
			l.p.reportAlone(l)
		}
	}
	l.counted = true
}

// gaveUp notes that the caller has stopped waiting.
func (s *stmt) gaveUp() { s.ride = nil }

// encode returns l's statement as a ride, or the reason why it goes alone.
func (l *Lease) encode(ctx context.Context) (r *lane.Ride, why string) {
	o := pgxargs.Parse(l.args)
	switch {
	case ctx.Value(aloneKey{}) != nil || l.scope.holds(false) || l.wish.Within != nil:
		return nil, catalog.AloneAsked
	case !l.with.Custom(): // PostgreSQL's own settings can change what the text means, or undo the guard
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
	r, l.timed, why = l.p.lanes.Encode(lane.Call{Ctx: ctx, SQL: l.sql, Args: l.args, With: l.with, Formats: o.Formats}, l.st, sql, args)
	return r, why
}

// rode takes the outcome of l's ride. If done is true, l has its result or err. Otherwise l has to be queued again, for a connection of its own.
func (l *Lease) rode(ctx context.Context) (done bool, err error) {
	outcome, err := l.ride.End()
	if outcome != lane.Unsent {
		at, _ := l.ride.Sent()
		l.waited = max(0, at.Sub(l.wish.Asked))
	}
	switch outcome {
	case lane.Own:
		return true, nil
	case lane.Unsent:
		l.goesForItself()
		return false, nil
	case lane.Lost:
		if l.p.cfg.Rerun == Off {
			return true, pgerr.Named(fmt.Errorf("lmipool: the connection was lost: %w", err), inPgerr)
		}
		sleep(ctx, afterLoss)
	}
	l.p.stats.reruns.Add(1)
	l.goesForItself()
	l.repeats = true
	return false, ctx.Err()
}

// takeResult returns the result of a statement that rode and the types that decode the result, and ends l. If rode is false, l has a connection.
func (l *Lease) takeResult() (result memrows.Result, types *memrows.Set, rode bool) {
	if l.ride == nil {
		return result, nil, false
	}
	result, types = l.ride.Take()
	l.spare()
	return result, types, true
}

// goesForItself makes l wait for a connection of its own from now on.
func (l *Lease) goesForItself() {
	l.ride = nil
	l.wish.Alone()
}

// answered notes, once, how long l's statement took if it went alone and the catalog wants to know.
func (l *Lease) answered(err error) {
	if l.timed && l.took == 0 && err == nil {
		l.took = time.Since(l.since)
	}
}

// observed is called when l ends. If answered has noted how long l's statement took, observed tells the catalog that time, and has the session ask
// what the catalog does not know of the statement yet. If the statement is not slow any more, waiting callers are asked again whether they can ride.
func (l *Lease) observed() {
	if l.took <= 0 {
		return
	}
	slow := l.p.lanes.Catalog.Slow
	was := l.st.Expected()
	l.st.Took(l.took - l.p.sched.Stats().LeastHold)
	if was > slow && l.st.Expected() <= slow {
		l.p.sched.AskAgain()
	}
	if l.c.lane != nil && l.st.Wants() {
		l.use.Ask(l.st)
	}
}

// flight holds a connection for the rides of a lane, as a Lease does for its invocation.
type flight struct {
	hold
	lane.Flight
	on *conn
}

// newFlight makes an empty flight on c, which the scheduler fills with rides.
func newFlight(c *conn) *sched.Group {
	f := &flight{on: c}
	g := f.On(c.lane)
	g.Owner = f
	asks(&g.Holder, f)
	return g
}

// fly sends rides on f's connection as long as a ride is at the head of the queue. Then it gives the connection back.
func (f *flight) fly() {
	c, sql := f.on, f.Board()
	defer f.Strand() // whatever happens below, no caller waits for ever

	if ok, err := c.fit(c.p.ctx, nil); !ok || err != nil { // fit has closed c, or given c back
		return
	}
	f.lend(c)
	f.use.Begin(&c.session, nil, false)
	f.use.Show("")
	if !f.start() {
		c.release()
		return
	}
	whole := false
	if c.p.observers.WantReleases() {
		defer c.p.tellRelease(f.word(), f.since, c.server(), "", leaseReleased)
	}
	defer func() { // also after a panic: then whole is false, and nobody may get the connection
		switch was, _, _ := f.hold.end(leaseReleased); {
		case was != leaseActive: // Shutdown has closed it
		case whole:
			c.release()
		default:
			c.closeInBackground()
		}
	}()
	if !c.wire.Queued() && !c.lane.Intact() { // the setting has changed, and no reset is queued that would restore it
		c.p.log.Warn("lmipool: default_transaction_read_only is not what it was after AfterConnect, by a read or by the server's configuration; the connection is closed")
		return
	}
	if _, err := f.enter(sql); err == nil {
		whole = f.Fly()
		f.leave()
	}
}

// end closes f's connection. Shutdown calls it when its ctx has ended before f has.
func (f *flight) end(why leaseState) bool {
	was, _, _ := f.hold.end(why)
	if was == leaseActive {
		f.c.abort()
	}
	return was <= leaseActive
}

func (*flight) word() string { return "lane" }

package pool

import (
	"context"
	"runtime"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/sched"
	"github.com/lmipool/lmipool/internal/session"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// laneSilence is how long a lane may say nothing before it counts as lost: the
// server stops every statement within session.StatementTimeout.
const laneSilence = session.StatementTimeout + 3*time.Second

// flight is a connection that carries reads, group after group.
type flight struct {
	c       *conn
	l       *Lease           // the lane's own
	turn    sched.Group      // those who have boarded last
	group   []*sched.Request // of these, who is to be sent; nil: is dealt with, and may ask for something else by now
	riders  []*sched.Request // were sent, and have no answer yet
	served  []*sched.Request // have their answer, and are to be woken
	coming  []segment        // what was sent, in this order
	landing bool             // a lease waits: nobody boards any more
	landed  bool             // the session guard was taken off, or that was tried
	groups  int              // that have boarded
	flushed chan struct{}    // closed when the group has been sent

	pl       *pgconn.Pipeline
	lost     error         // the connection is, for this reason
	broken   bool          // a statement turned the guard off
	last     time.Time     // when something was last read, or sent to an idle server
	overhead time.Duration // of the next answer: its way there and back
	silence  time.Time     // the connection's deadline
	proven   time.Time     // when that was right by which the group was sent
	seen     []catalog.Observation
	stale    []*prepared // became useless, and are to be described anew before the next group boards
}

// newFlight makes one for c, on which nobody is yet.
func newFlight(c *conn) *sched.Group {
	f := &flight{c: c, l: &Lease{p: c.p, what: kindLane}}
	f.turn.Owner = f
	f.l.asks(&f.turn.Holder)
	return &f.turn
}

// run carries the group that has boarded, and those that come after it. It hands
// out each answer when its own transaction has ended, and reports whether the
// connection is as good as before.
func (f *flight) run() (whole bool) {
	c, pc := f.c, f.c.pg.PgConn()
	guard := c.lane.guard
	f.pl = pc.StartPipeline(context.Background())
	f.confirm()
	f.send()
	for {
		for i := range f.coming {
			if pc.Frontend().ReadBufferLen() == 0 {
				// Whoever has an answer runs while the server makes more of them: fewer
				// reads, and fuller. Worth a tenth of the throughput on loopback.
				f.wake()
				runtime.Gosched()
			}
			f.receive(&f.coming[i])
		}
		f.wake()
		if f.lost != nil {
			break
		}
		if len(f.stale) == 0 && !f.board() {
			if !guard.session || f.landed {
				break
			}
			f.landing = true // nobody is on board, but the guard has to come off
		}
		f.confirm()
		f.send()
	}
	_ = f.pl.Close()
	c.p.lanes.catalog.Observe(f.seen)
	if f.lost != nil {
		if pgerr.IsLost(f.lost) {
			c.p.health.lost()
		}
		c.p.log.Warn("lmipool: a connection that reads shared was lost", "error", f.lost)
		return false
	}
	_ = pc.Conn().SetDeadline(time.Time{})
	return !f.broken && !guard.session && !pc.IsClosed() && pc.TxStatus() == 'I'
}

// board has the next group board, if there is one.
func (f *flight) board() bool {
	if f.landing || f.broken {
		return false
	}
	n := f.c.p.sched
	n.Await(&f.turn)
	if f.c.expired() || !n.Next(&f.turn, f.c.lane.guard.session) {
		return false
	}
	f.group, f.landing = f.turn.Requests, f.turn.Last
	return true
}

// send sends the group that has boarded.
func (f *flight) send() {
	f.groups++
	f.flushed = make(chan struct{})
	f.coming = f.plan()
	f.c.p.lanes.flew(len(f.group))
	f.group = nil
	f.c.p.lanes.catalog.Observe(f.seen)
	f.seen = f.seen[:0]
	if len(f.coming) == 0 {
		return
	}
	f.last, f.overhead = time.Now(), f.c.p.sched.LeastHold()
	f.extend(f.last)
	for i := range f.coming {
		f.coming[i].send(f.pl)
	}
	f.lost = f.pl.Flush()
	close(f.flushed)
}

// extend moves the connection's deadline, now and then.
func (f *flight) extend(now time.Time) {
	if f.silence.Sub(now) < laneSilence/2 {
		f.silence = now.Add(laneSilence)
		_ = f.c.pg.PgConn().Conn().SetDeadline(f.silence)
	}
}

// receive reads the answer to s and gives it to whom it belongs.
func (f *flight) receive(s *segment) {
	c, ln := f.c, f.c.lane
	if s.w == nil {
		if f.lost != nil && s.heard != nil {
			s.heard(&memrows.Result{})
		}
		if f.lost == nil {
			var failed *pgconn.PgError
			var rows memrows.Result
			var own *pgconn.StatementDescription
			_, own, failed, f.lost = s.read(f.pl, c.pg.PgConn(), &rows)
			switch {
			case s.heard != nil:
				if f.lost != nil || failed != nil {
					rows = memrows.Result{}
				}
				if failed != nil {
					ln.forget(s.stmt)
				}
				s.heard(&rows)
			case f.lost != nil || s.stmt == nil: // a name was deallocated
			case failed != nil:
				f.undescribed(s.stmt, failed)
			case s.exec:
				ln.guard.session = s.becomes
			case own != nil:
				f.described(s.stmt, own)
			}
		}
		return
	}
	r := rideOf(s.w)
	if f.lost == nil {
		var at stage
		var own *pgconn.StatementDescription
		var failed *pgconn.PgError
		at, own, failed, f.lost = s.read(f.pl, c.pg.PgConn(), &r.result)
		if f.lost == nil {
			now := time.Now()
			took := now.Sub(f.last) - f.overhead
			f.last, f.overhead = now, 0
			f.extend(now)
			if f.judge(s, at, own, failed, took) {
				f.seen = append(f.seen, catalog.Observation{Statement: r.st, Took: took, Size: r.result.Size()})
			}
			if !f.broken && !ln.guard.Intact(c.pg.PgConn(), ln.guard.session) {
				f.broken = true
				c.p.log.Error("lmipool: a read, or the server's configuration, changed default_transaction_read_only; the connection is closed", "statement", sqltext.Cut(r.sql, 200))
			}
		}
	}
	if f.lost != nil {
		r.lose(f.lost)
	}
	f.riders = f.riders[1:]
	f.served = append(f.served, s.w)
}

// wake wakes those who have their answer.
func (f *flight) wake() {
	for _, w := range f.served {
		f.answer(w)
	}
	f.served = f.served[:0]
}

// plan makes the segments of the group. Riders who have left, or are about to, do
// not come.
func (f *flight) plan() []segment {
	ln := f.c.lane
	plan := f.coming[:0]
	for _, name := range ln.surplus {
		plan = append(plan, segment{drop: name})
	}
	ln.surplus = ln.surplus[:0]
	own := func(sql string, fields []pgconn.FieldDescription, exec, becomes bool) *prepared {
		s := ln.find(sql, fields)
		if exec || !s.sent && !ln.unnamed {
			plan = append(plan, segment{stmt: s, parse: !s.sent, exec: exec, becomes: becomes})
		}
		s.sent = true
		return s
	}
	var local *prepared
	if !ln.guard.session && len(f.group)+len(f.stale) > 0 {
		local = own(ln.guard.Local, guardFields, false, false)
		if f.groups == guardFrom && !f.landing && !ln.unnamed {
			own(ln.guard.On, guardFields, true, true)
		}
	}
	f.proven = f.c.base.RightAt()
	fresh := f.c.base.IsFresh(time.Now())
	for _, old := range f.stale {
		s := ln.findAs(old.key.(*catalog.Statement), old.as)
		if !s.sent {
			plan = append(plan, segment{before: local, stmt: s, parse: true})
			s.sent = true
		}
	}
	f.stale = nil
	for i, w := range f.group {
		r := rideOf(w)
		if w.Owner.(*Lease).scope.gone() || r.state.Load() != rideWaiting {
			f.group[i] = nil
			f.answer(w)
			continue
		}
		if !fresh || !r.by.Holds(f.c.base) { // what says that it may ride may not be so any more
			f.group[i] = nil
			f.answer(w)
			continue
		}
		r.trace()
		r.flushed = f.flushed
		if !r.state.CompareAndSwap(rideWaiting, rideSent) {
			f.group[i] = nil
			r.traceEnd(context.Canceled)
			continue
		}
		r.catchUp(&f.c.p.lanes.types)
		s := ln.of(r)
		f.riders, f.group[i] = append(f.riders, w), nil
		var set *prepared
		if r.with != nil {
			set = own(r.with.SQL(), make([]pgconn.FieldDescription, r.with.Len()), false, false)
		}
		plan = append(plan, segment{set: set, before: local, stmt: s, parse: !s.sent, exec: true, bind: &r.eqb, w: w})
		s.sent = s.name != ""
	}
	if sign := f.sign(); sign != nil && len(f.riders) > 0 {
		plan = append(plan, *sign)
	}
	if f.landing && ln.guard.session && !f.landed {
		own(ln.guard.Off, guardFields, true, false)
		f.landed = true
	}
	return plan
}

// guardFields are the columns of the guard's statements, whose rows nobody reads.
var guardFields = make([]pgconn.FieldDescription, 3)

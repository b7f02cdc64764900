package pool

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// laneSilence is how long a lane may say nothing before it counts as lost: the
// server stops every statement within laneStatementTimeout.
const laneSilence = laneStatementTimeout + 3*time.Second

// flight is a connection and the reads that it takes together.
type flight struct {
	c       *conn
	l       *Lease // the lane's own
	riders  []*waiter
	landing bool // a lease waits, so this flight is the last of its run
}

// segment is what one Sync ends: a transaction of its own. All but the last of its
// steps are optional.
type segment struct {
	before  *prepared                 // the local guard
	parse   bool                      // stmt is Parsed and Described
	exec    bool                      // and executed
	drop    string                    // a name is deallocated
	stmt    *prepared                 //
	bind    *pgx.ExtendedQueryBuilder // nil: no arguments
	w       *waiter                   // whose it is; nil: the lane's own
	becomes bool                      // of the lane's own: what the session guard is then
}

func (s *segment) send(pl *pgconn.Pipeline) {
	if s.before != nil {
		pl.SendQueryStatement(s.before.sd, nil, nil, nil)
	}
	if s.drop != "" {
		pl.SendDeallocate(s.drop)
	}
	if s.parse {
		sql, ok := s.stmt.key.(string)
		if !ok {
			sql = s.stmt.key.(*statement).sql
		}
		pl.SendPrepare(s.stmt.name, sql, nil)
	}
	switch {
	case s.exec && s.bind != nil:
		pl.SendQueryStatement(s.stmt.sd, s.bind.ParamValues, s.bind.ParamFormats, s.bind.ResultFormats)
	case s.exec:
		pl.SendQueryStatement(s.stmt.sd, nil, nil, nil)
	}
	pl.SendPipelineSync()
}

// stage is how far a segment came.
type stage uint8

const (
	inGuard stage = iota
	inParse
	inExec
)

// read reads a segment's answers up to its ReadyForQuery, and the rows into b. One
// of the steps may have failed on the server; lost means the connection.
func (s *segment) read(pl *pgconn.Pipeline, pc *pgconn.PgConn, b *buffered) (at stage, own *pgconn.StatementDescription, failed *pgconn.PgError, lost error) {
	step := func(into *buffered) (any, bool) {
		v, err := pl.GetResults()
		if rr, ok := v.(*pgconn.ResultReader); ok {
			for rr.NextRow() {
				into.add(rr.Values())
			}
			into.tag, err = rr.Close()
		}
		switch {
		case err != nil && (pc.IsClosed() || !errors.As(err, &failed)):
			lost = err
		case v == nil && err == nil:
			lost = errors.New("lmipool: the pipeline ended early")
		}
		return v, lost == nil && failed == nil
	}
	ok := true
	if s.before != nil {
		_, ok = step(&buffered{})
	}
	if ok && s.drop != "" {
		_, ok = step(nil)
	}
	if ok && s.parse {
		at = inParse
		var v any
		if v, ok = step(nil); ok {
			own, _ = v.(*pgconn.StatementDescription)
		}
	}
	if ok && s.exec {
		at = inExec
		_, _ = step(b)
	}
	for lost == nil { // up to the Sync, also after a failure
		v, err := pl.GetResults()
		if _, ok := v.(*pgconn.PipelineSync); ok {
			break
		}
		if err != nil && (pc.IsClosed() || !errors.As(err, &failed)) || err == nil && v == nil {
			lost = errors.Join(err, errors.New("lmipool: no answer to Sync"))
		}
	}
	return at, own, failed, lost
}

// run sends the riders as one pipeline and hands out the answers as they come,
// each when its own transaction has ended. It reports whether the connection is
// as good as before.
func (f *flight) run(worthGuard bool) (whole bool) {
	c, ln := f.c, f.c.lane
	pc := c.pg.PgConn()
	segments := f.segments(worthGuard && !f.landing)
	if len(segments) == 0 {
		return true
	}
	c.p.lanes.flew(len(f.riders))
	last := time.Now()
	silence := last.Add(laneSilence)
	_ = pc.Conn().SetDeadline(silence)
	pl := pc.StartPipeline(context.Background())
	for i := range segments {
		segments[i].send(pl)
	}
	lost := pl.Flush()

	overhead := c.p.adm.leastRoundTrip() // of the first answer
	seen := make([]observation, 0, len(f.riders))
	var none buffered
	for i := range segments {
		s := &segments[i]
		if s.w == nil {
			if lost == nil {
				lost = f.own(s, pl, pc, &none)
			}
			continue
		}
		r := s.w.ride
		if lost == nil {
			var at stage
			var own *pgconn.StatementDescription
			var failed *pgconn.PgError
			at, own, failed, lost = s.read(pl, pc, &r.result)
			if lost == nil {
				now := time.Now()
				took := now.Sub(last) - overhead
				last, overhead = now, 0
				if silence.Sub(now) < laneSilence/2 {
					silence = now.Add(laneSilence)
					_ = pc.Conn().SetDeadline(silence)
				}
				if f.judge(s, at, own, failed, took) {
					seen = append(seen, observation{r.st, took, r.result.size})
				}
			}
		}
		if lost != nil {
			r.outcome, r.result = outcomeLost, buffered{err: lost}
		}
		s.w.answer()
	}
	_ = pl.Close()
	c.p.lanes.catalog.observeAll(seen)
	if lost != nil {
		c.p.log.Warn("lmipool: a connection was lost under reads that shared it", "reads", len(f.riders), "answered", len(seen), "error", lost)
		return false
	}
	_ = pc.Conn().SetDeadline(time.Time{})
	if !ln.guard.intact(c) {
		c.p.log.Error("lmipool: a statement on a lane changed default_transaction_read_only; its connection is closed",
			slog.Any("statements", f.texts()))
		return false
	}
	return !pc.IsClosed() && pc.TxStatus() == 'I'
}

// segments is the flight plan. Riders who have left, or are about to, do not come.
func (f *flight) segments(guardOn bool) []segment {
	ln := f.c.lane
	plan := make([]segment, 0, len(f.riders)+4)
	for _, name := range ln.surplus {
		plan = append(plan, segment{drop: name})
	}
	ln.surplus = ln.surplus[:0]
	own := func(sql string, exec, becomes bool) *prepared {
		s := ln.find(sql, guardFields)
		if exec || !s.sent {
			plan = append(plan, segment{stmt: s, parse: !s.sent, exec: exec, becomes: becomes})
		}
		s.sent = true
		return s
	}
	var local *prepared
	if !ln.guard.session && len(f.riders) > 0 {
		local = own(ln.guard.local, false, false)
		if guardOn {
			own(ln.guard.on, true, true)
		}
	}
	coming := f.riders[:0]
	for _, w := range f.riders {
		r := w.ride
		if w.lease.scope.gone() || r.state.Load() != rideWaiting {
			w.answer()
			continue
		}
		r.trace()
		if !r.state.CompareAndSwap(rideWaiting, rideSent) {
			r.traceEnd(context.Canceled)
			continue
		}
		s := ln.find(r.st, r.desc.Fields)
		if s.desc != nil && s.desc != r.desc { // it was described anew since
			ln.forget(s)
			s = ln.find(r.st, r.desc.Fields)
		}
		coming = append(coming, w)
		plan = append(plan, segment{before: local, stmt: s, parse: !s.sent, exec: true, bind: &r.eqb, w: w})
		s.sent = true
	}
	clear(f.riders[len(coming):])
	f.riders = coming
	if f.landing && ln.guard.session {
		own(ln.guard.off, true, false)
	}
	return plan
}

// guardFields are the columns of the guard's statements, whose rows nobody reads.
var guardFields = make([]pgconn.FieldDescription, 3)

// own reads a segment of the lane's own.
func (f *flight) own(s *segment, pl *pgconn.Pipeline, pc *pgconn.PgConn, b *buffered) error {
	ln := f.c.lane
	_, _, failed, lost := s.read(pl, pc, b)
	switch {
	case lost != nil:
		return lost
	case s.stmt == nil: // deallocated
	case failed != nil:
		ln.forget(s.stmt)
	case s.exec:
		ln.guard.session = s.becomes
	}
	return nil
}

// judge decides what s's answer means for its rider, and whether it says anything
// about its statement.
func (f *flight) judge(s *segment, at stage, own *pgconn.StatementDescription, failed *pgconn.PgError, took time.Duration) bool {
	ln, g, r := f.c.lane, f.c.p.lanes.catalog, s.w.ride
	r.outcome = outcomeAgain
	if own != nil {
		if !sameShape(own, r.desc) || !sameTypes(f.c.pg.TypeMap(), r.desc) {
			ln.forget(s.stmt)
			g.forget(r.st, r.desc)
			r.result = buffered{err: errStale}
			return false
		}
		s.stmt.desc = r.desc
	}
	switch {
	case failed == nil && s.stmt.desc != r.desc: // its Parse is in a segment that failed
		r.result = buffered{err: errStale}
		return false
	case failed == nil && r.result.size > maxResult:
		r.result = buffered{err: errTooLarge, size: r.result.size}
		return true
	case failed == nil:
		r.outcome = outcomeOwn
		r.result.fields = r.desc.shown
		return true
	}
	size := r.result.size
	if at < inExec {
		if at == inGuard {
			ln.forget(s.before)
		}
		ln.forget(s.stmt)
		r.result = buffered{err: failed}
		return false
	}
	switch failed.Code {
	case "25006": // read_only_sql_transaction
		g.refuse(r.st, aloneGuarded)
		f.c.p.lanes.refusals.Add(1)
	case "55P03", "57014": // lock_not_available, query_canceled
		g.observe(r.st, 10*max(took, laneLockTimeout), -1) // slow, for now
		f.c.p.lanes.refusals.Add(1)
	case "0A000", "26000", "42P05": // a cached plan, or the statement itself, is gone
		ln.forget(s.stmt)
		g.forget(r.st, r.desc)
	default:
		r.outcome = outcomeOwn
		r.result.err = failed
		r.result.fields = r.desc.shown
		return size > 0
	}
	r.result = buffered{err: failed}
	return false
}

var (
	errStale    = errors.New("lmipool: the statement's description has changed")
	errTooLarge = errors.New("lmipool: the result is too large for a lane")
)

// sameShape reports whether a connection's own description is what arguments were
// encoded for and rows will be decoded with.
func sameShape(own *pgconn.StatementDescription, d *description) bool {
	return slices.Equal(own.ParamOIDs, d.ParamOIDs) && slices.Equal(own.Fields, d.Fields)
}

func (f *flight) texts() []string {
	var texts []string
	for _, w := range f.riders {
		texts = append(texts, cut(w.ride.sql, 200))
	}
	return texts
}

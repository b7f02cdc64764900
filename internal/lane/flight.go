package lane

import (
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/sched"
	"github.com/lmipool/lmipool/internal/session"
	"github.com/lmipool/lmipool/internal/sqltext"
)

const (
	// guardFrom is the group of a flight from which on the session guard is worth its segment, and the round trip that takes it off.
	guardFrom = 2

	// maxSilence is how long a lane may say nothing before it counts as lost: the server stops every statement within session.StatementTimeout.
	maxSilence = session.StatementTimeout + 3*time.Second
)

// Flight is a lane's turn: it carries reads, group after group. The zero value is ready for On.
type Flight struct {
	ln     *Lane
	turn   sched.Group           // those who have boarded last
	group  []*sched.Request      // of these, who is to be sent; nil: is dealt with, and may ask for something else by now
	riders []*sched.Request      // were sent, and have no answer yet
	served []*sched.Request      // have their answer, and are to be woken
	coming []segment             // what was sent, in this order
	seen   []catalog.Observation // how those went who have their answer

	last         bool          // a lease waits: nobody boards any more
	guardCleared bool          // the session guard was taken off, or that was tried
	groups       int           // that have boarded
	flushed      chan struct{} // closed when the group has been sent

	pl       *pgconn.Pipeline
	lost     error         // the connection is, for this reason
	broken   bool          // a statement turned the guard off
	heard    time.Time     // when something was last read, or sent to an idle server
	overhead time.Duration // of the next answer: its way there and back
	silence  time.Time     // the connection's deadline
	proven   time.Time     // when that was right by which the group was sent
}

// On has f be on ln, on which there is no other, and returns its group, in which nobody is yet.
func (f *Flight) On(ln *Lane) *sched.Group {
	f.ln = ln
	return &f.turn
}

// Board takes the group that the scheduler has put into f's, and returns what the first of them asks for.
func (f *Flight) Board() (sql string) {
	f.group, f.last = f.turn.Requests, f.turn.Last
	return rideOf(f.group[0]).SQL
}

// next has the next group board, if there is one.
func (f *Flight) next() bool {
	if f.last || f.broken {
		return false
	}
	s := f.ln.of.Sched
	s.Await(&f.turn)
	if f.ln.Expired() || !s.Next(&f.turn, f.ln.guarded) {
		return false
	}
	f.Board()
	return true
}

// Fly carries the group that has boarded, and those that come after it. It hands out each answer when its own transaction has ended, and reports
// whether the connection is as good as before. Strand follows.
func (f *Flight) Fly() (whole bool) {
	ln, pc := f.ln, f.ln.PG.PgConn()
	f.pl = pc.StartPipeline(context.Background())
	for {
		f.confirm()
		f.send()
		for i := range f.coming {
			if pc.Frontend().ReadBufferLen() == 0 {
				// Whoever has an answer runs while the server makes more of them: fewer reads, and fuller. Worth a tenth of the throughput on loopback.
				f.wake()
				runtime.Gosched()
			}
			f.receive(&f.coming[i])
		}
		f.wake()
		if f.lost != nil {
			break
		}
		if len(ln.stale) == 0 && !f.next() {
			if !ln.guarded || f.guardCleared {
				break
			}
			f.last = true // nobody is on board, but the guard has to come off
		}
	}
	_ = f.pl.Close()
	ln.of.Catalog.Observe(f.seen)
	if f.lost != nil {
		if pgerr.IsLost(f.lost) {
			ln.of.Lost()
		}
		ln.of.Log.Warn("lmipool: a connection that reads shared was lost", "error", f.lost)
		return false
	}
	_ = pc.Conn().SetDeadline(time.Time{})
	return !f.broken && !ln.guarded && !pc.IsClosed() && pc.TxStatus() == 'I'
}

// confirm asks for the sign of the facts before a group is sent, if the last one is too old for that: nobody has ridden
// for a while. It costs this group a round trip.
func (f *Flight) confirm() {
	if len(f.group) == 0 || f.ln.Facts.IsFresh(time.Now()) {
		return
	}
	s := f.sign()
	if s == nil { // somebody else is asking, or it is known that they are not right
		return
	}
	f.extend(time.Now())
	s.send(f.pl)
	if f.lost = f.pl.Flush(); f.lost == nil {
		f.receive(s)
	} else {
		f.ln.Facts.Release()
	}
}

// sign is the segment that asks for the sign of the facts, if it is time for that.
func (f *Flight) sign() *segment {
	by, now := f.ln.Facts, time.Now()
	if by.IsSuspect() || !by.Claim(now) {
		return nil
	}
	stmt := f.ln.find(facts.AskSign)
	sign := by.Sign(now)
	return &segment{stmt: stmt, parse: stmt.parses() && !f.ln.Unnamed, exec: true, params: sign.Args, sign: sign}
}

// send sends the group that has boarded.
func (f *Flight) send() {
	of := f.ln.of
	f.groups++
	f.flushed = make(chan struct{})
	f.plan()
	if n := len(f.group); n > 0 {
		of.flights.Add(1)
		of.rides.Add(int64(n))
	}
	f.group = nil
	of.Catalog.Observe(f.seen)
	f.seen = f.seen[:0]
	if len(f.coming) == 0 {
		return
	}
	f.heard, f.overhead = time.Now(), of.Sched.Stats().LeastHold
	f.extend(f.heard)
	for i := range f.coming {
		f.coming[i].send(f.pl)
	}
	f.lost = f.pl.Flush()
	close(f.flushed)
}

// extend moves the connection's deadline, now and then.
func (f *Flight) extend(now time.Time) {
	if f.silence.Sub(now) < maxSilence/2 {
		f.silence = now.Add(maxSilence)
		_ = f.ln.PG.PgConn().Conn().SetDeadline(f.silence)
	}
}

// plan makes the segments of the group. Riders who have left, or are about to, do not come.
func (f *Flight) plan() {
	ln := f.ln
	surplus, stale := ln.upkeep()
	f.coming = f.coming[:0]
	for _, name := range surplus {
		f.coming = append(f.coming, segment{drop: name})
	}
	var local *prepared
	if !ln.guarded && len(f.group)+len(stale) > 0 {
		local = f.own(ln.guard.Local, false)
		if f.groups == guardFrom && !f.last && !ln.Unnamed {
			f.own(ln.guard.On, true)
		}
	}
	f.proven = ln.Facts.RightAt()
	for _, old := range stale {
		if s := ln.findAs(old.key.(*catalog.Statement), old.as); s.parses() {
			f.coming = append(f.coming, segment{before: local, stmt: s, parse: true})
		}
	}
	fresh := ln.Facts.IsFresh(time.Now())
	for i, w := range f.group {
		r := rideOf(w)
		// If the facts have changed, what says that it may ride may not be so any more.
		if !fresh || !r.by.Holds(ln.Facts) || ln.of.Gone(w) != nil || !r.boards(f.flushed) {
			f.group[i] = nil
			f.answer(w)
			continue
		}
		s := ln.findFor(r)
		f.riders, f.group[i] = append(f.riders, w), nil
		mine := segment{before: local, stmt: s, parse: s.parses(), exec: true, w: w}
		if r.With != nil {
			mine.set, mine.params = f.own(r.With.SQL, false), r.With.Params
		}
		f.coming = append(f.coming, mine)
	}
	if len(f.riders) > 0 {
		if s := f.sign(); s != nil {
			f.coming = append(f.coming, *s)
		}
	}
	if f.last && ln.guarded && !f.guardCleared {
		f.own(ln.guard.Off, true)
		f.guardCleared = true
	}
}

// own returns a statement of the pool's own, sent in front of what comes next if it has to be, or executed.
func (f *Flight) own(sql string, exec bool) *prepared {
	s := f.ln.find(sql)
	if parse := s.parses() && !f.ln.Unnamed; parse || exec {
		f.coming = append(f.coming, segment{stmt: s, parse: parse, exec: exec})
	}
	return s
}

// receive reads the answer to s and gives it to whom it belongs.
func (f *Flight) receive(s *segment) {
	ln, rows := f.ln, &memrows.Result{}
	if s.w != nil {
		rows = &rideOf(s.w).result
	}
	a := s.read(f.pl, ln.PG.PgConn(), rows, f.lost)
	f.lost = a.lost
	switch {
	case s.sign != nil:
		f.signed(s, &a, rows.First())
		return
	case s.w == nil:
		f.concludeOwn(s, &a)
		return
	}
	if r := rideOf(s.w); a.lost != nil {
		r.ends(Lost, a.lost)
	} else {
		now := time.Now()
		took := now.Sub(f.heard) - f.overhead
		f.heard, f.overhead = now, 0
		f.extend(now)
		if f.conclude(s, &a, took) {
			f.seen = append(f.seen, catalog.Observation{Statement: r.st, Took: took, Size: r.result.Size()})
		}
		if !f.broken && !ln.Intact() {
			f.broken = true
			ln.of.Log.Error("lmipool: a read, or the server's configuration, changed default_transaction_read_only; the connection is closed", "statement", sqltext.Cut(r.SQL, 200))
		}
	}
	f.riders = f.riders[1:]
	f.served = append(f.served, s.w)
}

// signed takes the answer to s, which has asked for the sign of the facts.
func (f *Flight) signed(s *segment, a *answer, row [][]byte) {
	defer f.ln.Facts.Release()
	if a.failed != nil || a.lost != nil {
		f.ln.forget(s.stmt)
		row = nil
	}
	s.sign.Take(row, a.lost)
	if row != nil && f.ln.Facts.IsSuspect() {
		f.last = true // whoever gets the connection next has the facts derived anew
	}
}

// wake wakes those who have their answer.
func (f *Flight) wake() {
	for _, w := range f.served {
		f.answer(w)
	}
	f.served = f.served[:0]
}

func (f *Flight) answer(w *sched.Request) { f.ln.of.Sched.Answer(w) }

// Strand ends the wait of all who have no answer, because f did not fly, or panicked. Those who were not sent ask
// again; the others have lost their connection.
func (f *Flight) Strand() {
	f.wake()
	for _, w := range f.riders {
		rideOf(w).ends(Lost, errors.New("lmipool: the lane panicked; see the log"))
		f.answer(w)
	}
	for _, w := range f.group {
		if w != nil {
			f.answer(w)
		}
	}
}

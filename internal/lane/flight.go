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
	// guardFrom is the number of the group with which a flight sets the session guard. Shorter flights would not save its cost.
	guardFrom = 2

	// maxSilence is how long a server may send nothing before the connection counts as lost. The guard stops each statement after StatementTimeout.
	maxSilence = session.StatementTimeout + 3*time.Second
)

// Flight carries reads on a lane, one group after the other. The zero value is ready for On.
type Flight struct {
	ln     *Lane
	turn   sched.Group           // the group that has boarded last
	group  []*sched.Request      // the group's requests that are still to be sent; nil in place of one that was handled, whose caller may reuse it
	riders []*sched.Request      // requests that were sent and have no answer yet
	served []*sched.Request      // requests that have their answer and are to be woken
	coming []segment             // the segments that are sent for the group, in this order
	seen   []catalog.Observation // times and sizes of the rides that have their answer

	last         bool          // no other group boards, because a request for a lease waits or the facts may be wrong
	guardCleared bool          // the statement that takes the session guard off was sent
	groups       int           // counts the groups that have boarded
	flown        Flown         // the group that is being carried; Reads is 0 if there is none
	flushed      chan struct{} // is closed when the group has been sent

	pl       *pgconn.Pipeline
	lost     error         // why the connection is lost; nil if it is not
	broken   bool          // somebody other than the lane has changed a setting of the guard
	heard    time.Time     // when something was last read, or sent to an idle server
	overhead time.Duration // the network's part in the time of the next answer
	silence  time.Time     // the connection's deadline, after which it counts as lost
	proven   time.Time     // when the facts by which the group rides were last known to be right
}

// On puts f on ln, which must have no other flight, and returns f's group, which is still empty.
func (f *Flight) On(ln *Lane) *sched.Group {
	f.ln = ln
	return &f.turn
}

// Board takes over the requests that the scheduler has put into f's group, and returns the text of the first one.
func (f *Flight) Board() (sql string) {
	f.group, f.last = f.turn.Requests, f.turn.Last
	return rideOf(f.group[0]).SQL
}

// next waits for the next group and takes it. It reports whether there is one.
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

// Fly carries the group that has boarded, and the groups after it. It hands out each answer when the ride's own transaction has ended. It reports
// whether the connection can be used again. The caller must call Strand afterwards.
func (f *Flight) Fly() (whole bool) {
	ln, pc := f.ln, f.ln.PG.PgConn()
	f.pl = pc.StartPipeline(context.Background())
	for {
		f.confirm()
		f.send()
		for i := range f.coming {
			if pc.Frontend().ReadBufferLen() == 0 {
				// Callers who have an answer run while the server makes the next ones. Then fewer reads return more bytes each. On loopback this is
				// worth a tenth of the throughput.
				f.wake()
				runtime.Gosched()
			}
			f.receive(&f.coming[i])
		}
		f.wake()
		f.tell()
		if f.lost != nil {
			break
		}
		if !f.next() {
			if !ln.guarded || f.guardCleared {
				break
			}
			f.last = true // the group is empty, but the session guard has to be taken off
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

// confirm asks for the sign of the facts before a group is sent, if the last one is too old since nobody has ridden. That costs a round trip.
func (f *Flight) confirm() {
	if len(f.group) == 0 || f.ln.Facts.IsFresh(time.Now()) {
		return
	}
	s := f.sign()
	if s == nil { // another connection is asking, or the facts may be wrong
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

// sign returns the segment that asks for the sign of the facts, or nil if the sign need not be asked for now.
func (f *Flight) sign() *segment {
	by, now := f.ln.Facts, time.Now()
	if by.IsSuspect() || !by.Claim(now) {
		return nil
	}
	stmt := f.ln.find(facts.AskSign())
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
		if of.Flew != nil {
			f.flown = Flown{Start: time.Now(), Reads: n}
		}
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

// tell says, once for each group, that the group was carried.
func (f *Flight) tell() {
	if f.flown.Reads > 0 {
		f.flown.Server, f.flown.Lost = f.ln.server, f.lost
		f.ln.of.Flew(f.flown)
	}
	f.flown = Flown{}
}

// extend moves the connection's deadline to maxSilence from now, if less than half of that is left.
func (f *Flight) extend(now time.Time) {
	if f.silence.Sub(now) < maxSilence/2 {
		f.silence = now.Add(maxSilence)
		_ = f.ln.PG.PgConn().Conn().SetDeadline(f.silence)
	}
}

// plan makes the segments of the group. It leaves out, and answers, requests whose caller has left or that may not ride any more.
func (f *Flight) plan() {
	ln := f.ln
	f.coming = f.coming[:0]
	for _, name := range ln.takeSurplus() {
		f.coming = append(f.coming, segment{drop: name})
	}
	var local *prepared
	if !ln.guarded && len(f.group) > 0 {
		local = f.own(ln.guard.Local, false)
		if f.groups == guardFrom && !f.last && !ln.Unnamed {
			f.own(ln.guard.On, true)
		}
	}
	f.proven = ln.Facts.RightAt()
	now := time.Now()
	fresh := ln.Facts.IsFresh(now)
	for i, w := range f.group {
		r := rideOf(w)
		// If the facts have changed, it may be that the statement must not ride any more.
		if !fresh || !r.by.Holds(ln.Facts) || ln.of.Gone(w) != nil || !r.boards(f.flushed, now) {
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

// own returns the prepared statement of sql, a text of the pool's own. If that has to be Parsed, or exec is true, own adds a segment for it to f.coming.
func (f *Flight) own(sql string, exec bool) *prepared {
	s := f.ln.find(sql)
	if parse := s.parses() && !f.ln.Unnamed; parse || exec {
		f.coming = append(f.coming, segment{stmt: s, parse: parse, exec: exec})
	}
	return s
}

// receive reads the answer to s and gives it to the rider, the facts or the lane.
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
			ln.of.Log.Error("lmipool: a read, or the server's configuration, changed default_transaction_read_only; the connection is closed", "statement", sqltext.Shown(r.SQL, 200))
		}
	}
	f.riders = f.riders[1:]
	f.served = append(f.served, s.w)
}

// signed handles the answer to s, a segment that has asked for the sign of the facts.
func (f *Flight) signed(s *segment, a *answer, row [][]byte) {
	defer f.ln.Facts.Release()
	if a.failed != nil || a.lost != nil {
		f.ln.forget(s.stmt)
		row = nil
	}
	s.sign.Take(row, a.lost)
	if row != nil && f.ln.Facts.IsSuspect() {
		f.last = true // when the connection comes back, the facts are read again
	}
}

// wake wakes the callers of the rides that have their answer.
func (f *Flight) wake() {
	for _, w := range f.served {
		f.answer(w)
	}
	f.served = f.served[:0]
}

func (f *Flight) answer(w *sched.Request) { f.ln.of.Sched.Answer(w) }

// Strand ends the wait of all requests that have no answer because f did not fly, or panicked. Requests that were not sent ask again; the others are Lost.
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
	f.tell()
}

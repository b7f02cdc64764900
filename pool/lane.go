package pool

import (
	"errors"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/sched"
	"github.com/lmipool/lmipool/internal/session"
	"github.com/lmipool/lmipool/internal/sqltext"
)

const (
	// maxFlight is how many reads ride together at most: what is sent cannot be
	// called back, and waits for what is in front of it.
	maxFlight = 32

	// guardFrom is the group of a flight from which on the session guard is worth
	// its segment, and the round trip that takes it off.
	guardFrom = 2

	// maxPrepared is how many statements a connection keeps prepared for lanes.
	maxPrepared = 256
)

var errLanePanicked = errors.New("lmipool: the lane panicked; see the log")

// guard is the guard of a lane, in the two forms of [session.Guard].
type guard struct {
	*session.Guard
	session bool // the session guard is on
}

// lane is the part of a connection that only flights use. It belongs to whom the
// connection belongs to.
type lane struct {
	guard    *guard
	baseline string               // what its session was like after AfterConnect, as far as it changes what a text means
	prepared map[any]*prepared    // by *catalog.Statement, or by the guard's text
	named    map[string]*prepared // the same, by name
	order    []*prepared          // the oldest first
	surplus  []string             // names to deallocate with the next flight
	unnamed  bool                 // behind a pooler each segment prepares for itself, without a name
}

// prepared is a statement that this connection has Parsed and Described for
// itself, under a name that is the lanes' alone: another connection's description can be
// wrong here without any error, and pgx's names are pgx's. On an unnamed lane it is
// Parsed and Described each time.
type prepared struct {
	key  any
	name string
	sent bool                 // its Parse was sent, and did not fail
	as   *catalog.Description // what its riders' arguments are encoded for; nil: it is the pool's own
	sd   *pgconn.StatementDescription
	verified
}

// find returns the statement of a text of the pool's own, which may still have to be sent.
func (ln *lane) find(sql string, fields []pgconn.FieldDescription) *prepared {
	if s, ok := ln.prepared[sql]; ok {
		return s
	}
	return ln.add(sql, sqltext.StatementName("own", sql, ln.baseline), fields)
}

// Question and Asked are [facts.Kept].
func (ln *lane) Question(sql string) (sd *pgconn.StatementDescription, there bool) {
	s := ln.find(sql, nil)
	return s.sd, s.sent
}

func (ln *lane) Asked(sql string, there bool) {
	s := ln.find(sql, nil)
	if s.sent = there; !there {
		ln.forget(s)
	}
}

// of is the statement that r is executed by.
func (ln *lane) of(r *ride) *prepared {
	if r.text == r.st.SQL {
		return ln.findAs(r.st, r.desc)
	}
	// Its comments may never come again, so it gets no name.
	return &prepared{key: r.text, as: r.desc, sd: &pgconn.StatementDescription{Fields: r.desc.Fields}}
}

// findAs returns st's statement as it is described by d, which may still have to be sent.
// One that was described in another way is dropped.
func (ln *lane) findAs(st *catalog.Statement, d *catalog.Description) *prepared {
	if s, ok := ln.prepared[st]; ok {
		if s.as == d || s.as != nil && d.IsLike(s.as.StatementDescription) {
			return s
		}
		ln.forget(s)
	}
	s := ln.add(st, d.Name(st.Key, ln.baseline), d.Fields)
	s.as = d
	return s
}

// add makes the statement of key. A name is used for what is prepared now: whoever had it
// before, such as the same text before the catalog had forgotten it, has no use for it.
func (ln *lane) add(key any, name string, fields []pgconn.FieldDescription) *prepared {
	s := &prepared{key: key}
	if !ln.unnamed {
		s.name = name
		if old, ok := ln.named[name]; ok {
			ln.forget(old)
		}
		ln.surplus = slices.DeleteFunc(ln.surplus, func(n string) bool { return n == name }) // its Parse closes it
		if ln.named == nil {
			ln.named = make(map[string]*prepared)
		}
		ln.named[name] = s
	}
	s.sd = &pgconn.StatementDescription{Name: s.name, Fields: fields}
	ln.prepared[key] = s
	ln.order = append(ln.order, s)
	if len(ln.prepared) > maxPrepared {
		ln.forget(ln.order[0])
	}
	return s
}

// forget drops s, here and, with the next flight, on the server.
func (ln *lane) forget(s *prepared) {
	if ln.prepared[s.key] != s {
		return
	}
	delete(ln.prepared, s.key)
	ln.order = slices.DeleteFunc(ln.order, func(o *prepared) bool { return o == s })
	if !ln.unnamed {
		delete(ln.named, s.name)
		ln.surplus = append(ln.surplus, s.name) // no error if the server has lost it
	}
}

// fly has a connection carry reads for as long as the head of the queue is one, and
// then gives it back.
func (p *Pool) fly(f *flight) {
	p.background("lane", func() {
		c, l := f.c, f.l
		f.group, f.landing = f.turn.Requests, f.turn.Last
		done := false
		defer func() {
			if !done { // a panic below: nobody may wait for ever or get this connection
				f.strand(errLanePanicked)
				l.leave()
				l.finish(false)
			}
		}()
		ok, err := c.fit(p.ctx, l)
		if ok && err == nil {
			err = l.start(c)
		}
		if ok && err == nil && !c.wire.Queued() && !c.lane.guard.Intact(c.pg.PgConn(), c.lane.guard.session) { // a lease has left it so
			p.log.Warn("lmipool: default_transaction_read_only is not what it was after AfterConnect, by a read or by the server's configuration; the connection is closed")
			f.strand(nil)
			done = true
			l.finish(false)
			return
		}
		if ok && err == nil {
			_, err = l.enter(rideOf(f.group[0]).sql)
		}
		if err != nil || !ok { // the connection is dealt with
			f.strand(nil)
			done = true
			return
		}
		whole := f.run()
		l.leave()
		done = true
		l.finish(whole)
	})
}

// finish ends a lane's lease, unless Shutdown has done that.
func (l *Lease) finish(whole bool) {
	switch was, _, _ := l.hold.end(leaseReleased); {
	case was != leaseActive:
	case whole:
		l.c.giveBack()
	default:
		l.c.closeInBackground()
	}
}

// strand ends the wait of all who have no answer. Those who were not sent ask
// again; the others have lost their connection.
func (f *flight) strand(err error) {
	f.wake()
	for _, w := range f.riders {
		rideOf(w).lose(err)
		f.answer(w)
	}
	for _, w := range f.group {
		if w != nil {
			f.answer(w)
		}
	}
}

// answer wakes a rider, once.
func (f *flight) answer(w *sched.Request) { f.c.p.sched.Answer(w) }

// rideOf is what has been asked for with w, which has boarded.
func rideOf(w *sched.Request) *ride { return w.Share.(*ride) }

package pool

import (
	"context"
	"net"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/sqltext"
	"github.com/lmipool/lmipool/observe"
)

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
	if l.p.observers.WantStatements() {
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
	if l.p.observers.WantStatements() {
		m.server = l.c.server()
	}
	return m
}

// running is a call that runs. The zero value tells nothing.
type running struct {
	meter
	p       *Pool
	x       *tx // nil if the call is in no transaction
	ctx     context.Context
	op      observe.Op
	sql     string
	queries int   // of a batch
	copied  int64 // rows of a COPY
}

// runs returns a call that is about to be sent on l, in x, which is nil if it is in no transaction.
func (l *Lease) runs(ctx context.Context, x *tx, op observe.Op, sql string) running {
	return running{meter: l.inLease(), p: l.p, ctx: ctx, x: x, op: op, sql: sql}
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
	if r.tries == 0 {
		return
	}
	end := time.Now()
	took, rows := end.Sub(r.start), r.copied+tag.RowsAffected()
	for x := r.x; x != nil; x = x.outer {
		x.ran += took
	}
	if r.scope != nil {
		r.scope.account.Ran(r.op, r.sql, r.rode, rows, took)
	}
	slow := p.cfg.ReportSlowAfter > 0 && end.Sub(r.asked) >= p.cfg.ReportSlowAfter
	if slow {
		p.reportSlow(r, took, err)
	}
	if !p.observers.WantStatements() && (p.observers == nil || !slow) {
		return
	}
	e := observe.Statement{
		Asked: r.asked, Start: r.start, End: end, Waited: r.waited, Op: r.op, SQL: r.sql, Rode: r.rode, Alone: r.alone, Tries: r.tries,
		Rows: rows, Tag: tag.String(), Queries: r.queries, Err: err, Server: r.server, RequestID: r.scope.id(),
	}
	p.observers.Statement(r.ctx, e)
	if slow {
		p.observers.Slow(r.ctx, e)
	}
}

// shown is the text of r for the log.
func (r *running) shown() string {
	if r.op == observe.Batch {
		return "batch of " + strconv.Itoa(r.queries)
	}
	return sqltext.Shown(r.sql, 200)
}

// accountForWait adds l's wait to the account of its invocation. obtain has returned err.
func (l *Lease) accountForWait(err error) {
	switch {
	case l.scope == nil || !l.wish.Waited():
	case err == nil || l.ride != nil:
		l.scope.account.Waited(l.waited)
	default:
		l.scope.account.Waited(time.Since(l.wish.Asked))
	}
}

package pool

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/account"
	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/gostack"
	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/safelog"
	"github.com/lmipool/lmipool/internal/sqltext"
	"github.com/lmipool/lmipool/observe"
)

// warnAt logs message for what happened at the place at. One place has one line a minute at most, with the number of events since the last one.
func (p *Pool) warnAt(at *gostack.Site, now time.Time, message string, attrs ...any) {
	if count, say := p.tally.Count(message, *at, now); say {
		p.log.Warn(message, append(attrs, count...)...)
	}
}

// reportNested logs that l's invocation waited for l's connection while it held another one. If all connections are held like this, nobody gets one.
func (p *Pool) reportNested(l *Lease) {
	lookers.Add(1)
	defer lookers.Add(-1)
	other := l.scope.other(l)
	if other == nil || other.p != p {
		return
	}
	now, at := time.Now(), gostack.Here()
	p.warnAt(&at, now, "lmipool: an invocation waited for a connection while it held another; when all are held like this, nobody gets one",
		append(other.holder(now).attrs(), safelog.Ms("waited", now.Sub(l.wish.Asked)), slog.Any("waited_at", at.Lines()))...)
}

// reports is what was logged of what happens again and again.
type reports struct {
	tally   gostack.Tally // which lines were logged
	slowest atomic.Pointer[slow]
}

// slow is a statement that ran for longer than ReportSlowAfter. Those that waited meanwhile are logged with it.
type slow struct {
	from, to time.Time
	sql      string
	at       gostack.Site
}

// reportSlow logs r, a statement that was slow. took is how long it ran. If that was quick, the line says that it waited, and what ran meanwhile.
func (p *Pool) reportSlow(r *running, took time.Duration, err error) {
	at, now, failed := gostack.Here(), time.Now(), slog.Attr{}
	if err != nil {
		failed = slog.Any("error", err)
	}
	ran, used := safelog.Ms("ran", took), slog.Any("used_at", at.Lines())
	if took >= p.cfg.ReportSlowAfter {
		p.slowest.Store(&slow{r.start, now, r.shown(), at})
		p.warnAt(&at, now, "lmipool: a statement was slow", safelog.Request(r.scope.id()), slog.String("doing", r.shown()), ran, safelog.Ms("waited", r.waited),
			slog.String("alone", r.alone), slog.Int("tries", r.tries), used, failed)
		return
	}
	behind := slog.Attr{}
	if s := p.slowest.Load(); s != nil && s.to.After(r.asked) && s.from.Before(r.start) {
		behind = slog.Group("behind", slog.String("doing", s.sql), slog.Any("used_at", s.at.Lines()))
	}
	p.warnAt(&at, now, "lmipool: a statement had to wait long for a connection", safelog.Ms("waited", r.waited), behind, safelog.Request(r.scope.id()),
		slog.String("doing", r.shown()), ran, used, failed)
}

// reportInvocation logs the account of s, whose invocation has ended, if it was slow or ran one text often. A text has one line a minute at most.
func (p *Pool) reportInvocation(s *Scope, now time.Time) {
	switch slow := p.cfg.ReportSlowAfter; {
	case slow <= 0:
	case now.Sub(s.began) >= slow && s.account.Busy() >= slow:
		p.warnUsage("lmipool: an invocation was slow in the database", s, now)
	case s.account.Repeated() >= account.Often:
		p.warnUsage("lmipool: an invocation ran one statement again and again; one statement for all, or a batch, is faster", s, now)
	}
}

// warnUsage logs message with the account of s.
func (p *Pool) warnUsage(message string, s *Scope, now time.Time) {
	u := s.account.Usage()
	at := slog.Attr{}
	if lines := s.account.RepeatedAt(); lines != nil {
		at = slog.Any("repeated_at", lines)
	}
	if count, say := p.tally.Count(message, u.LongestText+u.RepeatText, now); say {
		p.log.Warn(message, append([]any{
			safelog.Request(s.name), safelog.Ms("lasted", now.Sub(s.began)), slog.Int("statements", u.Statements), slog.Int("rides", u.Rides), slog.Int64("rows", u.Rows),
			safelog.Ms("waited", u.Waited), safelog.Ms("ran", u.Ran), safelog.Ms("idle_in_tx", u.IdleInTx),
			safelog.Ms("longest", u.Longest), slog.String("longest_text", u.LongestText), slog.Int("repeated", u.Repeated), slog.String("repeated_text", u.RepeatText), at,
		}, count...)...)
	}
}

// dialFailed logs that a dial has failed with err, if it is the first in a minute that failed so.
func (p *Pool) dialFailed(err error, took time.Duration) {
	cause := err
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		cause = inner // its text names no address
	}
	if count, say := p.tally.Count("dial failed", cause.Error(), time.Now()); say {
		p.log.Warn("lmipool: dial failed", append(count, slog.Any("error", err), safelog.Ms("took", took))...)
	}
}

// outlives counts and logs that a goroutine used the pool after its invocation, of the scope s, had ended. It does nothing if err says something else.
func (p *Pool) outlives(s *Scope, sql string, err error) {
	if !errors.Is(err, ErrInvocationEnded) {
		return
	}
	p.stats.late.Add(1)
	at := gostack.Here()
	id, doing, used := safelog.Request(s.id()), slog.String("doing", sqltext.Shown(sql, 200)), slog.Any("used_at", at.Lines())
	if gostack.InHandler() { // it has overrun, and the advice about goroutines is not for it
		p.warnAt(&at, time.Now(), "lmipool: a handler used the pool after its invocation had ended, and was refused; let it return when its ctx ends", id, doing, used)
		return
	}
	p.warnAt(&at, time.Now(), "lmipool: a goroutine used the pool after its invocation had ended, and was refused; for work that goes on after the reply use Detach",
		id, doing, used)
}

// enter is hold's enter, and reports a goroutine that has outlived its invocation.
func (l *Lease) enter(sql string) (*pgx.Conn, error) {
	c, err := l.hold.enter(sql)
	if err != nil {
		l.p.outlives(l.scope, sql, err)
	}
	return c, err
}

// resume is hold's resume, and reports a goroutine that has outlived its invocation.
func (l *Lease) resume() error {
	err := l.hold.resume()
	if err != nil {
		l.p.outlives(l.scope, l.sql, err)
	}
	return err
}

// manyAlone is how many reads have to wait and go alone because of what they call, before it is worth a line.
const manyAlone = 100

// reportAlone logs that reads like l's wait for connections of their own, because they call what is not known to be harmless.
func (p *Pool) reportAlone(l *Lease) {
	const message = "lmipool: reads waited for a connection of their own, since they call a function that is not known to be harmless; if it only reads, name it in Config.LaneFunctions"
	if p.stats.alone.Of(catalog.AloneCalls) < manyAlone {
		return
	}
	if count, say := p.tally.Count(message, l.sql, time.Now()); say {
		p.log.Info(message, append(count, slog.String("doing", sqltext.Shown(l.sql, 200)))...)
	}
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

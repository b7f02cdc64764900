package pool

import (
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/account"
	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/gostack"
	"github.com/lmipool/lmipool/internal/safelog"
	"github.com/lmipool/lmipool/internal/sqltext"
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

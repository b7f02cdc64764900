package pool

import (
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

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

// reportSlow logs r, a statement that was slow. took is how long it ran.
func (p *Pool) reportSlow(r *running, took time.Duration, err error) {
	at, failed := gostack.Here(), slog.Attr{}
	if err != nil {
		failed = slog.Any("error", err)
	}
	p.warnAt(&at, time.Now(), "lmipool: a statement was slow", safelog.Request(r.scope.id()), slog.String("doing", r.shown()), safelog.Ms("waited", r.waited),
		safelog.Ms("ran", took), slog.String("alone", r.alone), slog.Int("tries", r.tries), slog.Any("used_at", at.Lines()), failed)
}

// oftenRepeated is from how many runs of one text on an invocation is logged: that many statements, one after the other, take longer than one statement
// that gets all rows, even if each of them is fast.
const oftenRepeated = 50

// reportInvocation logs the account of s, whose invocation has ended, if it was slow or ran one text often. Each longest or repeated text has one line a
// minute at most.
func (p *Pool) reportInvocation(s *Scope, now time.Time) {
	switch slow := p.cfg.ReportSlowAfter; {
	case slow <= 0:
	case now.Sub(s.began) >= slow && s.account.Busy() >= slow:
		p.warnUsage("lmipool: an invocation was slow in the database", s, now)
	case s.account.Repeated() >= oftenRepeated:
		p.warnUsage("lmipool: an invocation ran one statement again and again; one statement for all, or a batch, is faster", s, now)
	}
}

// warnUsage logs message with the account of s.
func (p *Pool) warnUsage(message string, s *Scope, now time.Time) {
	u := s.account.Usage()
	if count, say := p.tally.Count(message, u.LongestText+u.RepeatText, now); say {
		p.log.Warn(message, append([]any{
			safelog.Request(s.name), safelog.Ms("lasted", now.Sub(s.began)), slog.Int("statements", u.Statements), slog.Int("rides", u.Rides), slog.Int64("rows", u.Rows),
			safelog.Ms("waited", u.Waited), safelog.Ms("ran", u.Ran), safelog.Ms("idle_in_tx", u.IdleInTx),
			safelog.Ms("longest", u.Longest), slog.String("longest_text", u.LongestText), slog.Int("repeated", u.Repeated), slog.String("repeated_text", u.RepeatText),
		}, count...)...)
	}
}

// outlives counts and logs that a goroutine used the pool after its invocation, of the scope s, had ended. It does nothing if err says something else.
func (p *Pool) outlives(s *Scope, sql string, err error) {
	if !errors.Is(err, ErrInvocationEnded) {
		return
	}
	p.stats.late.Add(1)
	at := gostack.Here()
	p.warnAt(&at, time.Now(), "lmipool: a goroutine used the pool after its invocation had ended, and was refused; for work that goes on after the reply use Detach",
		safelog.Request(s.id()), slog.String("doing", sqltext.Shown(sql, 200)), slog.Any("used_at", at.Lines()))
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

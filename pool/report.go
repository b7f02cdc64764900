package pool

import (
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

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

// outlives counts and logs that a goroutine used the pool after its invocation, of the scope s, had ended. It does nothing if err says something else.
func (p *Pool) outlives(s *Scope, sql string, err error) {
	if !errors.Is(err, ErrInvocationEnded) {
		return
	}
	p.stats.late.Add(1)
	at := gostack.Here()
	p.warnAt(&at, time.Now(), "lmipool: a goroutine used the pool after its invocation had ended, and was refused; for work that goes on after the reply use Detach",
		safelog.Request(s.id()), slog.String("doing", sqltext.Cut(sql, 200)), slog.Any("used_at", at.Lines()))
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

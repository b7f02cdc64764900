package pool

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/lmipool/lmipool/internal/sched"
)

// prepares returns how l, which is about to wait, can share a connection (nil: it cannot), and what is known of it.
func (l *Lease) prepares(ctx context.Context) (with sched.Share, t sched.Traits) {
	if l.wish.MayShare {
		with = l.rideFor(ctx)
	}
	t.Holds = l.scope.holds(true)
	for w := l.wish.Within; w != nil; w = w.Outer {
		t.Holds = t.Holds || w.Holds != nil
	}
	if l.st != nil {
		t.Expect = l.st.Expected()
	}
	if by := l.p.cfg.FairBy; by != nil {
		l.p.protect("FairBy", func() { t.Key = by(ctx) })
	}
	return with, t
}

// refused returns the error of a caller whom the scheduler has refused. It logs that once a second at most, with the count since the last time.
func (p *Pool) refused(e *sched.NoTimeError) error {
	err := &NoTimeError{e.Queued, e.Wait, e.Service, e.Left, e.Outage}
	p.stats.refusals.unsaid.Add(1)
	now, last := time.Now().UnixNano(), p.stats.refusals.saidAt.Load()
	if now-last >= int64(time.Second) && p.stats.refusals.saidAt.CompareAndSwap(last, now) {
		p.log.Warn("lmipool: callers were refused, since their time would not be enough", slog.Int64("refused", p.stats.refusals.unsaid.Swap(0)), slog.String("last", err.Error()))
	}
	return err
}

// ofScheduler translates a scheduler's error for l.
func (p *Pool) ofScheduler(err error) error {
	var late *sched.NoTimeError
	var nests *sched.NestedError
	switch {
	case errors.As(err, &late):
		return p.refused(late)
	case errors.As(err, &nests):
		return nested(nests.Held.Owner.(*Lease))
	case errors.Is(err, sched.ErrClosed):
		return ErrClosed
	}
	return err
}

package pool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/lmipool/lmipool/internal/gostack"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/sched"
)

// refused returns the error of a caller whom the scheduler has refused. Once a second at most, it logs how many callers were refused since the last log.
func (p *Pool) refused(ctx context.Context, l *Lease, e *sched.NoTimeError) error {
	err := &NoTimeError{e.Queued, e.Wait, e.Service, e.Left, e.Why, e.Outage}
	p.stats.refusals.unsaid.Add(1)
	p.tellRefused(ctx, l, e)
	now, last := time.Now().UnixNano(), p.stats.refusals.saidAt.Load()
	if now-last >= int64(time.Second) && p.stats.refusals.saidAt.CompareAndSwap(last, now) {
		p.log.Warn("lmipool: callers were refused", slog.Int64("refused", p.stats.refusals.unsaid.Swap(0)), slog.String("last", err.Error()))
	}
	return err
}

// acquireError returns err in an AcquireError that says how busy the pool is, or err itself if the pool or the invocation has ended.
func (p *Pool) acquireError(l *Lease, err error) error {
	if errors.Is(err, ErrClosed) || errors.Is(err, ErrInvocationEnded) {
		p.outlives(l.scope, l.sql, err)
		return err
	}
	lookers.Add(1)
	defer lookers.Add(-1)
	now := time.Now()
	s := p.sched.Stats()
	switch bare := err == context.DeadlineExceeded || err == context.Canceled; { //nolint:errorlint // an error that wraps the ctx's gives a reason already
	case bare && !l.wish.Waited() && !l.lentOnce:
		err = pgerr.EndedBefore(err)
	case bare && s.Total == s.Dialing:
		if g := p.dialer.oldest.Load(); g != nil {
			err = fmt.Errorf("%w; there is no connection yet: %s", err, g.Progress())
		}
	}
	e := &AcquireError{
		Waited:   now.Sub(l.wish.Asked),
		MaxConns: s.Max,
		Open:     s.Total,
		Limit:    s.Limit,
		InUse:    s.Held,
		Queued:   s.Queued + 1, // the caller has just left the queue
		Err:      err,
	}
	if out := p.holders(); len(out) > 0 {
		h := slices.MaxFunc(out, func(a, b occupant) int { return cmp.Compare(a.held(now), b.held(now)) }).holder(now)
		e.Longest = &h
	}
	return pgerr.NoConnection(e, inPgerr)
}

// ofScheduler translates an error of the scheduler into one of this package.
func (p *Pool) ofScheduler(ctx context.Context, l *Lease, err error) error {
	var late *sched.NoTimeError
	var nests *sched.NestedError
	switch {
	case errors.As(err, &late):
		return p.refused(ctx, l, late)
	case errors.As(err, &nests):
		return nested(nests.Held.Owner.(*Lease))
	case errors.Is(err, sched.ErrClosed):
		return ErrClosed
	}
	return err
}

// nested returns the error of a caller who waits inside a function of InTx that holds the lease held. The error has the caller's stack.
func nested(held *Lease) error {
	var s gostack.Site
	s.Capture(4, gostack.Deep)
	return &NestedAcquireError{Holder: held.holder(time.Now()), Waiting: s.Lines()}
}

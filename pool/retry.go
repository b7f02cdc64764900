package pool

import (
	"cmp"
	"context"
	"time"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/pgxargs"
	"github.com/lmipool/lmipool/internal/sched"
)

// tries counts the failed tries of one call outside a transaction.
type tries struct {
	began time.Time // when the first try began; zero until it has failed
	n     int       // how many tries have failed
}

// rerun runs a call outside a transaction as often as retry wants. once makes one try and returns the try's lease, if any. again means a later try.
func (p *Pool) rerun(ctx context.Context, once func(again bool) (*Lease, error)) error {
	var a tries
	for {
		l, err := once(a.n > 0)
		if !p.retry(ctx, &a, l, err) {
			if err == nil && l != nil && l.what == kindStatement && l.released() {
				l.spare()
			}
			return err
		}
	}
}

// nothingLost returns err, a failed call's error. The call has no effect, so if the connection was lost, the returned error says that it did not run.
func nothingLost(why string, err error) error {
	if pgerr.IsLost(err) && !pgerr.DidNotRun(err) {
		return pgerr.NotRun(why, err)
	}
	return err
}

// retry reports whether a call that has failed with err has to run once more, and waits before that. That is so if the call certainly has not run: it
// was not sent, or a standby refused it, or its session could not be reset. It is also so, once, for a read that could ride and lost its connection.
func (p *Pool) retry(ctx context.Context, a *tries, l *Lease, err error) bool {
	if err == nil || l == nil {
		return false
	}
	a.began = cmp.Or(a.began, l.wish.Asked)
	switch {
	case pgerr.DidNotRun(err):
		if !p.waitToRetry(ctx, a) {
			return false
		}
	case a.n > 0 || l.repeats || ctx.Err() != nil || !p.mayRepeat(ctx, l, err):
		return false
	default:
		p.stats.reruns.Add(1)
		sleep(ctx, afterLoss)
	}
	a.n++
	return true
}

// waitToRetry waits before a call that did not run tries another connection. It returns false if the call has to give up. The second try is at once,
// since usually the first connection had died while it was idle. Later tries wait: a pooler whose server is gone accepts each connection and closes it
// at its first message, and would be dialed a thousand times a second. Without a deadline, tries end when a caller would give up a server that is away.
func (p *Pool) waitToRetry(ctx context.Context, a *tries) bool {
	switch _, bounded := ctx.Deadline(); {
	case ctx.Err() != nil:
		return false
	case a.n == 0:
		return true
	case !bounded && time.Since(a.began) >= sched.AwayPatience*p.cfg.ConnectTimeout:
		return false
	}
	return pause(ctx, a.n-1)
}

// mayRepeat reports whether err says that the connection was lost, and l's statement could ride if it were faster: then it has no effect.
func (p *Pool) mayRepeat(ctx context.Context, l *Lease, err error) bool {
	if p.cfg.Rerun == Off || !pgerr.IsLost(err) || !p.rides || ctx.Value(aloneKey{}) != nil || !l.with.Custom() {
		return false
	}
	o := pgxargs.Parse(l.args)
	sql, _, ok := o.Rewritten(ctx, l.sql)
	return ok && o.Few() && len(sql) <= catalog.MaxText && p.lanes.Catalog.Find(sql, l.with.Key()).IsHarmless()
}

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
	began time.Time // when the first began; zero until it has failed
	n     int       // how many have failed
}

// rerun runs a call outside a transaction as often as retry wants. once is one try, and returns the lease that it had and has released, or nil.
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

// nothingLost returns err, of a call that has no effect. If the connection was lost it says that the call did not run, since it may run again.
func nothingLost(why string, err error) error {
	if pgerr.IsLost(err) && !pgerr.DidNotRun(err) {
		return pgerr.NotRun(why, err)
	}
	return err
}

// retry reports whether a call that has failed with err is to run once more, and waits before that. A call is if it certainly has not run: it was not
// sent, or was refused by a standby or by a session that could not be reset. A read that could ride is too, once, if its connection was lost.
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

// waitToRetry waits before a call that did not run tries another connection, and reports whether it does. The second try is at once: usually the
// first connection had died while it was idle. Later tries wait, since a pooler whose server is gone accepts each connection and closes it at its
// first message, and would be dialed a thousand times a second. Without a deadline they end when a server that is away is given up.
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

// mayRepeat reports whether err says that the connection was lost, and l's statement is one that could ride if it were short: it has no effect.
func (p *Pool) mayRepeat(ctx context.Context, l *Lease, err error) bool {
	if p.cfg.Rerun == Off || !pgerr.IsLost(err) || !p.rides || ctx.Value(aloneKey{}) != nil || !l.with.Custom() {
		return false
	}
	o := pgxargs.Parse(l.args)
	sql, _, ok := o.Rewritten(ctx, l.sql)
	return ok && o.Few() && len(sql) <= catalog.MaxText && p.lanes.Catalog.Find(sql, l.with.Key()).IsHarmless()
}

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

// tries is what is known of those of one call outside a transaction.
type tries struct {
	began time.Time // when the first was; zero until there is a second
	n     int       // how many have failed
}

// rerun runs a call outside a transaction until it is not to run once more. once is one try: again says that it is not the first, and
// it returns the lease that it had, if any, which it has released.
func (p *Pool) rerun(ctx context.Context, once func(again bool) (*Lease, error)) error {
	var a tries
	for {
		l, err := once(a.n > 0)
		if !p.retry(ctx, &a, l, err) {
			return err
		}
	}
}

// nothingLost is err of what can run again if its connection was lost, whatever had become of it.
func nothingLost(why string, err error) error {
	if pgerr.IsLost(err) && !pgerr.DidNotRun(err) {
		return pgerr.NotRun(why, err)
	}
	return err
}

// retry waits before a call outside a transaction that ended with err runs once more, and reports whether it does. It does if it certainly has not
// run: it was not sent, or refused by a standby, or by a session that could not be reset. A read that may ride does so too, once, when its connection
// was lost. l, which it had, has been released: it holds nothing meanwhile; nil: it had none.
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
		p.stats.runsAgain()
		sleep(ctx, afterLoss)
	}
	a.n++
	return true
}

// waitToRetry waits before a call that was not run tries another connection, and says whether it is to. The first time is at once: it was a connection
// that had died while it was idle. But who takes a new connection and ends it at its first word, as a pooler does whose server is gone, would be
// dialed a thousand times a second. It is waited for as long as for a server that is away.
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

// lostRead is err for a Query on a connection of its own, of which nobody has seen a row. It is not run again, since its
// Rows are its caller's by now, but he may do that: if it could ride it had no effect.
func (p *Pool) lostRead(ctx context.Context, l *Lease, err error) error {
	if !p.mayRepeat(ctx, l, err) {
		return err
	}
	return nothingLost("the connection of a read was lost", err)
}

// mayRepeat reports whether err is of a connection that was lost, and l's statement could ride, were it short.
func (p *Pool) mayRepeat(ctx context.Context, l *Lease, err error) bool {
	if p.cfg.NoRerun || !pgerr.IsLost(err) || !p.rides || ctx.Value(aloneKey{}) != nil || !l.with.Custom() {
		return false
	}
	o := pgxargs.Parse(l.args)
	sql, _, ok := o.Rewritten(ctx, l.sql)
	return ok && o.Few() && len(sql) <= catalog.MaxText && p.lanes.Catalog.Find(sql, l.with.Key()).IsHarmless()
}

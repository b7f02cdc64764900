package pool

import (
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// releaseUnless is for a call whose result holds the lease from then on: it does not if the
// call fails, or code of the user's (a tracer, a Valuer) panics in it.
func (l *Lease) releaseUnless(kept *bool) {
	if !*kept {
		l.Release()
	}
}

// end takes the connection from the user, once, and returns whether it did.
func (l *Lease) end(why leaseState) bool {
	was, left, quiet := l.hold.end(why)
	if was != leaseActive {
		return was == leasePending
	}
	if l.scope != nil {
		l.scope.remove(&l.place)
	}
	if t := l.p.releaseTracer; t != nil {
		l.p.protect("TraceRelease", func() { t.TraceRelease(l.p.px, pgxpool.TraceReleaseData{Conn: l.c.pg}) })
	}
	if l.raw {
		l.c.types.Forget()
		l.use.TakeBack()
	}
	switch {
	case l.raw && why != leaseReleased, !quiet && why == leaseClosed: // Shutdown has waited already
		l.c.abort()
	case quiet:
		if why == leaseReleased {
			l.observed()
		}
		l.giveBack()
	default:
		l.p.sched.Retain(&l.c.place)
		l.p.background("reclaim", func() { l.reclaim(left) })
	}
	return true
}

// reclaim waits for the call that is running, closes what is open, and gives the
// connection back; if that takes too long it tears it away.
func (l *Lease) reclaim(left <-chan struct{}) {
	if left != nil && !l.wait(left) {
		l.c.abort()
		return
	}
	clean := false
	defer func() {
		if !clean { // closing it panicked, in a tracer say: the place must not be lost
			l.c.closeInBackground()
		}
	}()
	if r := l.take(); r != nil {
		// Closing reads the rest of the result, which can be long: bound it.
		asked := make(chan struct{})
		late := time.AfterFunc(graceToLeave, func() {
			defer close(asked)
			l.c.cancel.Cancel(ErrInvocationEnded)
		})
		r.closeResult()
		if !late.Stop() {
			<-asked
			l.c.cancel.Answered()
		}
	}
	clean = true
	l.giveBack()
}

// giveBack is for a lease that has ended, and that nobody uses any more.
func (l *Lease) giveBack() {
	l.use.End()
	l.c.release()
}

// wait waits for the call that is running. After a while it asks the server to cancel
// what that runs, which is for a call whose ctx does not end with its invocation.
func (l *Lease) wait(left <-chan struct{}) bool {
	t := time.NewTimer(graceToLeave)
	defer t.Stop()
	select {
	case <-left:
		return true
	case <-t.C:
	}
	l.c.cancel.Cancel(ErrInvocationEnded)
	t.Reset(max(0, l.p.cfg.CancelWait) + graceToCancel)
	select {
	case <-left:
		l.c.cancel.Answered()
		return true
	case <-t.C:
		return false
	}
}

// takeBack is for the scope.
func (l *Lease) takeBack(now time.Time) (report func()) {
	h := l.holder(now)
	if !l.end(leaseEnded) {
		return nil
	}
	l.p.stats.leaseLeaked()
	return func() {
		l.p.log.Warn("lmipool: the invocation ended with a "+l.what.String()+" still held; it was taken back", h.attrs()...)
	}
}

package pool

import (
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Release gives the connection back. It is idempotent and never waits for the network. Do not call it while another call on the lease is running. A
// transaction or Rows that are still open are closed in the background, before the next user gets the connection.
func (l *Lease) Release() { l.lent.Release() }

func (w leased) Release() { w.l.end(leaseReleased) }

// releaseUnless is deferred by a call whose result will hold the lease. If the call fails, or the user's tracer or Valuer panics, kept stays false.
func (l *Lease) releaseUnless(kept *bool) {
	if !*kept {
		l.Release()
	}
}

// end takes the connection from its user. It reports whether this was the first call, since only the first has an effect.
func (l *Lease) end(why leaseState) bool {
	was, left, quiet := l.hold.end(why)
	if was != leaseActive {
		return was == leasePending
	}
	if l.scope != nil {
		l.scope.remove(&l.place)
	}
	if l.p.observers.WantReleases() {
		defer l.p.tellRelease(l.word(), l.since, l.c.server(), l.scope.id(), why)
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
		l.use.End()
		l.c.release()
	default:
		l.c.place.GaveUp(false)
		l.p.sched.Retain(&l.c.place)
		l.p.background("reclaim", func() { l.reclaim(left) })
	}
	return true
}

// reclaim waits until the running call is over, closes the open result, and gives the connection back. If the call does not return, reclaim cuts the
// connection off. left is closed when the call is over; it is nil if no call is running.
func (l *Lease) reclaim(left <-chan struct{}) {
	if left != nil && !l.wait(left) {
		l.c.abort()
		return
	}
	clean := false
	defer l.c.closeUnless(&clean) // closing the result may panic, in a tracer for example
	if r := l.take(); r != nil {
		asked := make(chan struct{}) // closing reads the rest of the result, which can be long, so its statement is cancelled after a while
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
	l.use.End()
	l.c.release()
}

// wait waits for the running call, and reports whether it has returned. After graceToLeave it cancels the call's statement, whose ctx may go on.
func (l *Lease) wait(left <-chan struct{}) bool {
	select {
	case <-left:
		return true
	case <-time.After(graceToLeave):
	}
	l.c.cancel.Cancel(ErrInvocationEnded)
	select {
	case <-left:
		l.c.cancel.Answered()
		return true
	case <-time.After(max(0, l.p.cfg.CancelWait) + graceToCancel):
		return false
	}
}

func (l *Lease) takeBack(now time.Time) (report func()) {
	h := l.holder(now)
	if !l.end(leaseEnded) {
		return nil
	}
	l.p.stats.leaks.Add(1)
	return func() {
		l.p.tellLeak(l.what, &h)
		l.p.warnAt(&l.stack, now, "lmipool: the invocation ended with a "+l.what.String()+" still held; it was taken back", h.attrs()...)
	}
}

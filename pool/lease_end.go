package pool

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Release gives the connection back. It is idempotent, never blocks on the network, and must not run beside another call on the same lease. What
// was left open (a transaction, Rows) is closed in the background before the next user gets the connection.
func (l *Lease) Release() { l.lent.Release() }

func (w leased) Release() { w.l.end(leaseReleased) }

// releaseUnless is for a call whose result holds the lease from then on: it does not if the call fails, or code of the user's (a tracer, a Valuer)
// panics in it.
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

// reclaim waits for the call that is running, closes what is open, and gives the connection back; if that takes too long it tears it away.
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

// wait waits for the call that is running. After a while it asks the server to cancel what that runs, which is for a call whose ctx does not end
// with its invocation.
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

// Conn returns the connection itself. A lease whose Conn was taken cannot be cleaned when its invocation ends with it still held: its socket is
// closed instead. Conn must not be used after Release. What is registered on its TypeMap is there for the connection's next users too: register
// types in AfterConnect.
func (l *Lease) Conn() *pgx.Conn { return l.lent.Conn() }

func (w leased) Conn() *pgx.Conn {
	l := w.l
	if !l.begins() || !l.tookRaw() {
		return l.p.ended.Conn()
	}
	if l.c.cancel.Pending() {
		if _, err := l.enter(""); err == nil { // it is settled now
			l.leave()
		}
	}
	return l.c.pg
}

// begins has a BEGIN that is held back sent before the connection itself is given away, by which more can be sent than the wire sees. It is false
// if that fails: what is sent then would not be in the transaction.
func (l *Lease) begins() bool {
	if !l.holdsBegin() {
		return true
	}
	if _, err := l.enter("begin"); err != nil {
		return false
	}
	defer l.leave()
	ctx, cancel := context.WithTimeout(context.Background(), l.p.cfg.ConnectTimeout)
	defer cancel()
	return !l.c.wire.BeginDeferred() || l.c.pg.PgConn().Exec(ctx, "-- has BEGIN sent").Close() == nil
}

package pool

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/gostack"
	"github.com/lmipool/lmipool/internal/lane"
	"github.com/lmipool/lmipool/internal/sched"
	"github.com/lmipool/lmipool/internal/session"
)

// Lease is a connection that one invocation has for itself, from Acquire until Release or the end of its scope. Like a *pgx.Conn it is for one
// goroutine at a time; a second one gets an error, not a data race.
type Lease struct {
	hold
	p     *Pool
	lent  lent   // what it runs on
	scope *Scope // nil outside an invocation
	place held   // in the scope's list
	what  kind
	wish  sched.Request     // for a connection
	stack gostack.Site      // where it was acquired
	with  *session.Settings // what its statements run with; nil: nothing

	stmt
}

// lent is the connection that a Lease runs on: pgxpool's with Config.Plain, otherwise the one that the pool has lent.
type lent interface {
	Conn() *pgx.Conn
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
	CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error)
	BeginTx(ctx context.Context, opts pgx.TxOptions) (pgx.Tx, error)
	Ping(ctx context.Context) error
	Release()
}

// leased runs the methods of a Lease on the connection that the pool has lent it.
type leased struct{ l *Lease }

// stmt is what only a lease for one statement of the pool's has. Its caller's goroutine uses it.
type stmt struct {
	args     []any
	ride     *lane.Ride         // nil: it goes alone
	why      string             // for this reason; "": it was not asked, or is counted
	st       *catalog.Statement // what the catalog knows of it; nil: it was not asked
	lentOnce bool               // it was lent a connection, which may have been unfit
	repeats  bool               // it rode, and runs once more
	timed    bool               // the catalog wants to know how long it takes
	took     time.Duration      // how long it took alone, without an error; 0: not known
}

// kind is what a lease is used for.
type kind uint8

const (
	kindStatement kind = iota
	kindQuery          // its Rows
	kindBatch
	kindTransaction
	kindLease // Acquire
)

func (k kind) String() string {
	return [...]string{"statement", "query", "batch", "transaction", "lease"}[k]
}

// lasts reports whether more than one call can run on l.
func (l *Lease) lasts() bool { return l.what == kindTransaction || l.what == kindLease }

// asks makes r the request of owner, a *Lease or a *flight.
func asks(r *sched.Request, owner any) { r.Owner = owner }

// occupant is a lease or a flight, which holds a connection.
type occupant interface {
	word() string // what log lines call it
	held(now time.Time) time.Duration
	holder(now time.Time) Holder
	end(why leaseState) bool
}

func (l *Lease) word() string { return l.what.String() }

// holder describes l as it is now.
func (l *Lease) holder(now time.Time) Holder {
	h := l.hold.holder(now)
	h.Scope, h.Stack = l.scope.id(), l.stack.Lines()
	return h
}

// holders lists what holds a connection. Its caller is one of the lookers.
func (p *Pool) holders() (all []occupant) {
	for _, r := range p.sched.Holders() {
		all = append(all, r.Owner.(occupant))
	}
	return all
}

// eachLease calls f with the leases among them.
func (p *Pool) eachLease(f func(*Lease)) {
	lookers.Add(1)
	defer lookers.Add(-1)
	for _, h := range p.holders() {
		if l, ok := h.(*Lease); ok {
			f(l)
		}
	}
}

// Release gives the connection back. It is idempotent, never waits for the network, and must not run beside another call on the same lease. What is
// still open (a transaction, Rows) is closed in the background before the next user gets the connection.
func (l *Lease) Release() { l.lent.Release() }

func (w leased) Release() { w.l.end(leaseReleased) }

// releaseUnless is deferred by a call whose result will hold the lease. It releases if the call fails, or the user's tracer or Valuer panics.
func (l *Lease) releaseUnless(kept *bool) {
	if !*kept {
		l.Release()
	}
}

// end takes the connection from its user, once, and reports whether it was this call that did.
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
		l.use.End()
		l.c.release()
	default:
		l.c.place.GaveUp(false)
		l.p.sched.Retain(&l.c.place)
		l.p.background("reclaim", func() { l.reclaim(left) })
	}
	return true
}

// reclaim waits for the call that is running, closes what is open, and gives the connection back. It cuts off a call that does not return.
func (l *Lease) reclaim(left <-chan struct{}) {
	if left != nil && !l.wait(left) {
		l.c.abort()
		return
	}
	clean := false
	defer l.c.closeUnless(&clean) // closing the result may panic, in a tracer for example
	if r := l.take(); r != nil {
		asked := make(chan struct{}) // closing reads the rest of the result, which can be long: its statement is cancelled
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

// wait reports whether the call that is running returns. After graceToLeave it has its statement cancelled: its ctx need not end with its invocation.
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
		l.p.log.Warn("lmipool: the invocation ended with a "+l.what.String()+" still held; it was taken back", h.attrs()...)
	}
}

// Conn returns the connection itself, or a closed one if the lease has ended. It must not be used after Release. If the lease is still held when its
// invocation ends, its connection is closed, since its user may still use the Conn. What is registered on its TypeMap stays for the connection's next
// users: register types in AfterConnect.
func (l *Lease) Conn() *pgx.Conn { return l.lent.Conn() }

func (w leased) Conn() *pgx.Conn {
	l := w.l
	if !l.begins() || !l.tookRaw() {
		return l.p.ended.Conn()
	}
	if l.c.cancel.Pending() {
		if _, err := l.enter(""); err == nil { // which has settled it
			l.leave()
		}
	}
	return l.c.pg
}

// begins sends a BEGIN that is held back, before the user gets the connection itself: the wire does not see all that is sent by that. It returns
// false if it fails, since what is sent then would not be in the transaction.
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

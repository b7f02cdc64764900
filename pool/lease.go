package pool

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

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

// spareLeases has zeroed leases of statements that are over, which later statements reuse.
var spareLeases = sync.Pool{New: func() any { return &Lease{} }}

// spare lets a later statement reuse l, which nobody uses any more. l is in no list by now, but somebody may have read one before.
func (l *Lease) spare() {
	if lookers.Load() == 0 {
		*l = Lease{}
		spareLeases.Put(l)
	}
}

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

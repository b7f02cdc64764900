package pool

import (
	"cmp"
	"context"
	"slices"
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
// goroutine at a time. A second goroutine gets an error, and causes no data race.
type Lease struct {
	hold
	p     *Pool
	lent  lent   // the methods of Lease run on this
	scope *Scope // nil outside an invocation
	place held   // the lease's place in the scope's list
	what  kind
	wish  sched.Request     // asks the scheduler for a connection
	stack gostack.Site      // where the lease was acquired
	with  *session.Settings // the lease's statements run with these settings; nil if there are none

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

// on returns what l runs on. It panics with a sentence if l is nil or not from Acquire, which is a mistake in the caller's code.
func (l *Lease) on() lent {
	if l == nil || l.lent == nil {
		panic(errNoLease)
	}
	return l.lent
}

// leased runs the methods of a Lease on the connection that the pool has lent it.
type leased struct{ l *Lease }

// stmt has the fields of a lease that serves one statement of the pool's methods. Only the caller's goroutine uses them.
type stmt struct {
	args     []any
	ride     *lane.Ride         // nil if the statement goes alone
	why      string             // why the statement goes alone; "" if it was not asked to ride
	st       *catalog.Statement // what the catalog knows of the statement; nil if the catalog was not asked
	lentOnce bool               // the statement was lent a connection, which may have failed its checks
	counted  bool               // goesAlone has counted why
	repeats  bool               // the statement rode, and runs once more
	timed    bool               // the catalog wants to know how long the statement takes
	took     time.Duration      // how long the statement took when it went alone and succeeded; 0 if that is not known
	waited   time.Duration      // how long the statement waited until it rode, or was lent a connection, for the first time
}

// kind is what a lease is used for.
type kind uint8

const (
	kindStatement kind = iota
	kindQuery          // Query, until its Rows are closed
	kindBatch
	kindTransaction
	kindLease // Acquire
)

func (k kind) String() string {
	return [...]string{"statement", "query", "batch", "transaction", "lease"}[k]
}

// lasts reports whether more than one call can run on l.
func (l *Lease) lasts() bool { return l.what == kindTransaction || l.what == kindLease }

// spareLeases has zeroed leases that later statements reuse, since each statement needs a lease.
var spareLeases = sync.Pool{New: func() any { return &Lease{} }}

// spare lets a later statement reuse l, which nobody uses any more. l is in no list now, but a looker may have read a list when l was still in it.
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
	word() string // what log lines call the occupant
	held(now time.Time) time.Duration
	holder(now time.Time) Holder
	end(why leaseState) bool
}

func (l *Lease) word() string { return l.what.String() }

// holder describes l as it is now.
func (l *Lease) holder(now time.Time) Holder {
	h := l.hold.holder(now)
	h.Scope = l.scope.id()
	if l.started() { // before that a statement's stack may be written
		h.Stack = l.stack.Lines()
	}
	return h
}

// holders lists all leases and flights that hold a connection. The caller has to be counted in lookers.
func (p *Pool) holders() (all []occupant) {
	for _, r := range p.sched.Holders() {
		all = append(all, r.Owner.(occupant))
	}
	return all
}

// Holders describes who has a connection now, the one who has had it longest first. Flights of lanes are among them. With Config.Plain it is empty.
func (p *Pool) Holders() []Holder {
	lookers.Add(1)
	defer lookers.Add(-1)
	p.on()
	now := time.Now()
	all := p.holders()
	list := make([]Holder, 0, len(all))
	for _, h := range all {
		list = append(list, h.holder(now))
	}
	slices.SortFunc(list, func(a, b Holder) int { return cmp.Compare(b.Held, a.Held) })
	return list
}

// eachLease calls f with each lease that holds a connection.
func (p *Pool) eachLease(f func(*Lease)) {
	lookers.Add(1)
	defer lookers.Add(-1)
	for _, h := range p.holders() {
		if l, ok := h.(*Lease); ok {
			f(l)
		}
	}
}

// Conn returns the connection itself, or a closed one if the lease has ended. Do not use the connection after Release. If the lease is still held when
// its invocation ends, the pool closes the connection, since the caller may still use it. What is registered on the connection's TypeMap stays there
// for the next users: register types in AfterConnect.
func (l *Lease) Conn() *pgx.Conn { return l.on().Conn() }

func (w leased) Conn() *pgx.Conn {
	l := w.l
	if !l.begins() || !l.tookRaw() {
		return l.p.ended.Conn()
	}
	if l.c.cancel.Pending() {
		if _, err := l.enter(""); err == nil { // enter has waited for the end of the cancel request
			l.leave()
		}
	}
	return l.c.pg
}

// begins sends a BEGIN that is held back, before the user gets the *pgx.Conn: the pool does not see all that the user sends with it. If begins returns
// false, BEGIN has failed, and the user must not get the *pgx.Conn, since what it sends would not be in the transaction.
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

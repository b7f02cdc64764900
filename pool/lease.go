package pool

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/gostack"
	"github.com/lmipool/lmipool/internal/sched"
	"github.com/lmipool/lmipool/internal/session"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// graceToLeave is how long a call that is still running when its invocation
// ended may take to come back by itself: its ctx has just been cancelled. Then the
// server is asked to stop what it runs, whatever its ctx, and if it still does not come
// back the connection is torn away from it.
const graceToLeave = 100 * time.Millisecond

// Lease is a connection that one invocation has for itself, from Acquire until
// Release or the end of its scope. Like a *pgx.Conn it is for one goroutine at a
// time; a second one gets an error rather than a data race.
type Lease struct {
	p     *Pool
	c     *conn
	plain *pgxpool.Conn // instead of c when Config.Plain
	scope *Scope        // nil outside an invocation
	what  string        // "lease", "transaction", "rows", "batch" or "statement"
	wish  sched.Request // for a connection
	stack gostack.Site
	with  *session.Settings // what its statements run with; nil: nothing

	// of Scope's list, guarded by Scope.mu
	prev, next *Lease

	mu       sync.Mutex
	state    leaseState
	calling  bool   // a call into pgx is running
	stuck    bool   // or is over for its caller, and a value that it was given hangs
	inTx     bool   // after the last call there was a transaction
	calls    uint32 // how many calls there were
	rest     rest
	left     chan struct{} // closed when that call is over; set by whoever waits for it
	result   result        // Rows or BatchResults that are still open
	resultAt time.Time     // since when
	reported bool          // the open result was logged
	raw      bool          // the user has, or may have, the *pgx.Conn itself
	since    time.Time     // when the connection was got
	sql      string        // what it does or did last

	residue session.Residue // what it leaves behind in the session; the caller's that is inside
	pending pending         // the same

	// of meaning.go; the caller's that is inside
	meaning meaning // of texts in its session
	touched bool    // something ran that may have changed that
	planned bool    // what had been planned before is dropped, or will be

	lost bool // of a transaction's: when it ended its server was gone, or a standby

	goesOn bool // it is a batch's, and has a transaction that may outlive the batch

	known   bool // it was lent a connection, so others may know it
	repeats bool // it rode, and runs once more
	timed   bool // it is of use to know for how long it ran

	uncheck context.CancelFunc // ends the checks before it is active; nil: none run

	// of a statement that may ride; its caller's until it has a connection
	args []any
	ride *ride              // nil: it goes alone
	st   *catalog.Statement // what the catalog knows of it; nil: it was not asked
	took time.Duration      // alone, without an error; 0: not known
}

type leaseState uint8

const (
	leasePending leaseState = iota // waiting for its connection
	leaseActive
	leaseReleased
	leaseEnded  // by the end of its scope
	leaseClosed // by Shutdown
)

// result is what keeps a connection busy between calls.
type result interface{ closeResult() }

// active reports whether l has its connection, and has not ended.
func (l *Lease) active() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state == leaseActive
}

// checking is the ctx for the checks of a connection that l is to get.
func (l *Lease) checking(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.uncheck = cancel
	if l.state != leasePending {
		cancel()
	}
	return ctx, cancel
}

// start makes l the owner of c. Its scope or the pool may have ended just then.
func (l *Lease) start(c *conn) error {
	l.mu.Lock()
	l.c, l.since = c, c.place.Since()
	closed := l.state != leasePending
	if !closed {
		l.state = leaseActive
		c.cancel.Lent()
		l.inherits()
		c.partly = partly{}
		c.bind(l.with) // also to nothing, whatever it was bound to
	}
	l.mu.Unlock()
	if closed {
		c.giveBack()
		return ErrClosed
	}
	if l.scope != nil && !l.scope.add(l) {
		l.end(leaseReleased)
		return ErrInvocationEnded
	}
	return nil
}

// enter begins a call into pgx that sends something. Every exit from it goes through leave.
func (l *Lease) enter(sql string) (*pgx.Conn, error) {
	if err := l.call(sql); err != nil {
		return nil, err
	}
	pc := l.c.pg.PgConn()
	if !l.c.cancel.Pending() || pc.IsClosed() || pc.IsBusy() {
		return l.c.pg, nil
	}
	settled := l.c.cancel.Settle(l.p.cancelWait())
	l.leave()
	if !settled {
		return nil, errUnsettled
	}
	if err := l.call(sql); err != nil { // that took its time: the invocation may have ended
		return nil, err
	}
	return l.c.pg, nil
}

// resume begins a call that reads on what an earlier one has begun. Every exit from it
// goes through leave.
func (l *Lease) resume() error {
	if err := l.call(""); err != nil {
		return err
	}
	l.c.cancel.Extend()
	return nil
}

// call is what enter and resume have in common.
func (l *Lease) call(sql string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch l.state {
	case leaseReleased:
		return errReleased
	case leaseEnded:
		return ErrInvocationEnded
	case leaseClosed:
		return ErrClosed
	}
	if l.calling && l.stuck {
		return errStuck
	}
	if l.calling {
		return errBusy
	}
	l.calling = true
	l.residue.Use()
	l.calls++
	if sql != "" {
		l.sql = sql
		if l.result == nil { // else it may be what was sent for that
			l.c.wire.StartCall()
			l.c.calls()
		}
	}
	return nil
}

func (l *Lease) leave() {
	l.mu.Lock()
	l.calling, l.stuck = false, false
	status := l.c.pg.PgConn().TxStatus()
	l.inTx = status != 'I'
	if status == 'E' {
		l.c.foreign.Fail()
	}
	if l.raw {
		l.c.watching()
		l.c.hideForeign()
		l.c.unarm()
	}
	if l.left != nil {
		close(l.left)
		l.left = nil
	}
	l.mu.Unlock()
}

// opened and closed keep track of the result that occupies the connection.
// Both run between enter and leave.
func (l *Lease) opened(r result) {
	l.mu.Lock()
	l.result, l.resultAt, l.reported = r, time.Now(), false
	l.mu.Unlock()
}

func (l *Lease) closed(r result) {
	l.mu.Lock()
	if l.result == r {
		l.result = nil
	}
	l.mu.Unlock()
}

func (l *Lease) hasResult() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.result != nil
}

// tookRaw notes that the user has the connection itself, unless it is his no more.
func (l *Lease) tookRaw() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state != leaseActive {
		return false
	}
	l.raw = true
	l.c.types.Lend()
	l.c.watching()
	if !l.calling { // else leave does it
		l.c.hideForeign()
		l.c.unarm()
	}
	l.c.cancel.AsPgx()
	return true
}

// gaveRaw reports whether the user has the connection itself.
func (l *Lease) gaveRaw() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.raw
}

// Release gives the connection back. It is idempotent, never blocks on the
// network, and must not run beside another call on the same lease. What was left
// open (a transaction, Rows) is closed in the background before the next user
// gets the connection.
func (l *Lease) Release() {
	if l.plain != nil {
		l.plain.Release()
		return
	}
	l.end(leaseReleased)
}

// releaseUnless is for a call whose result holds the lease from then on: it does not if the
// call fails, or code of the user's (a tracer, a Valuer) panics in it.
func (l *Lease) releaseUnless(kept *bool) {
	if !*kept {
		l.Release()
	}
}

// end takes the connection from the user, once, and returns whether it did.
func (l *Lease) end(why leaseState) bool {
	l.mu.Lock()
	switch l.state {
	case leaseActive:
	case leasePending: // start will see it
		l.state = why
		if l.uncheck != nil {
			l.uncheck()
		}
		l.mu.Unlock()
		return true
	default:
		l.mu.Unlock()
		return false
	}
	l.state = why
	var left chan struct{}
	if l.calling {
		left = make(chan struct{})
		l.left = left
	}
	quiet := left == nil && l.result == nil
	raw := l.raw
	l.mu.Unlock()

	if l.scope != nil {
		l.scope.remove(l)
	}
	if t := l.p.releaseTracer; t != nil {
		l.p.protect("TraceRelease", func() { t.TraceRelease(l.p.px, pgxpool.TraceReleaseData{Conn: l.c.pg}) })
	}
	if raw {
		l.c.types.Forget()
		l.residue.AddNamed(sqltext.AnyTrace)
		l.c.watched(&l.residue, &l.pending)
	}
	switch {
	case raw && why != leaseReleased, !quiet && why == leaseClosed: // Shutdown has waited already
		l.c.abort()
	case quiet:
		if why == leaseReleased {
			l.p.lanes.leased(l)
		}
		l.bequeaths()
		l.c.soiled(&l.residue, &l.pending)
		l.c.giveBack()
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
	l.mu.Lock()
	r := l.result
	l.result = nil
	l.mu.Unlock()
	if r != nil {
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
	l.bequeaths()
	l.c.soiled(&l.residue, &l.pending)
	l.c.giveBack()
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

// held is for how long l has had its connection.
func (l *Lease) held(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.since.IsZero() { // it is still being checked
		return 0
	}
	return now.Sub(l.since)
}

// holder describes l as it is now.
func (l *Lease) holder(now time.Time) Holder {
	h := Holder{Held: l.held(now)}
	l.mu.Lock()
	h.Doing = cut(l.sql, 200)
	l.mu.Unlock()
	if l.scope != nil {
		h.Scope = l.scope.name
	}
	h.Stack = l.stack.Lines()
	return h
}

// Conn returns the connection itself. A lease whose Conn was taken cannot be
// cleaned when its invocation ends with it still held: its socket is closed
// instead. Conn must not be used after Release. What is registered on its TypeMap is there for the connection's
// next users too: register types in AfterConnect.
func (l *Lease) Conn() *pgx.Conn {
	if l.plain != nil {
		return l.plain.Conn()
	}
	if !l.begins() || !l.tookRaw() {
		return l.p.ended.closed()
	}
	if l.c.cancel.Pending() {
		if _, err := l.enter(""); err == nil { // it is settled now
			l.leave()
		}
	}
	return l.c.pg
}

// begins has a BEGIN that is held back sent before the connection itself is given away, by which more can be sent than
// the wire sees. It is false if that fails: what is sent then would not be in the transaction.
func (l *Lease) begins() bool {
	l.mu.Lock()
	held := l.state == leaseActive && !l.calling && l.c.wire.BeginDeferred()
	l.mu.Unlock()
	if !held {
		return true
	}
	if _, err := l.enter("begin"); err != nil {
		return false
	}
	defer l.leave()
	ctx, cancel := context.WithTimeout(context.Background(), l.p.cfg.ConnectTimeout)
	defer cancel()
	return l.sendBegin(ctx) == nil
}

// Exec is [pgx.Conn.Exec].
func (l *Lease) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	if l.plain != nil {
		return l.plain.Exec(ctx, sql, args...)
	}
	return l.exec(ctx, sql, args, false)
}

// exec runs sql on the lease. With own, the lease is of this statement alone, and one that did
// not run because it is stale runs once more.
func (l *Lease) exec(ctx context.Context, sql string, args []any, own bool) (pgconn.CommandTag, error) {
	c, err := l.enter(sql)
	if err != nil {
		return pgconn.CommandTag{}, err
	}
	defer l.leave()
	meant, err := l.meant(ctx, sql, args, l.with == nil)
	if err != nil {
		return pgconn.CommandTag{}, l.c.wrapError(err)
	}
	l.note(ctx, sql, meant)
	run := func() (pgconn.CommandTag, error) {
		if l.with == nil {
			return c.Exec(ctx, sql, meant...)
		}
		return extended(ctx, c, sql, meant)
	}
	tag, err := run()
	if own && l.c.stale(err) {
		tag, err = run()
	}
	l.answered(err)
	l.p.writer.Wrote(tag)
	return tag, l.c.wrapError(err)
}

// Query is [pgx.Conn.Query]. The lease is busy until the Rows are closed.
func (l *Lease) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if l.plain != nil {
		return l.plain.Query(ctx, sql, args...)
	}
	return l.query(ctx, sql, args, false)
}

// QueryRow is [pgx.Conn.QueryRow], but the row is read at once: the lease is free
// when QueryRow returns, whether Scan is called or not.
func (l *Lease) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	if l.plain != nil {
		return l.plain.QueryRow(ctx, sql, args...)
	}
	return l.queryRow(ctx, sql, args, false)
}

// SendBatch is [pgx.Conn.SendBatch]. The lease is busy until Close of the result.
func (l *Lease) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	if b == nil {
		return errBatch{err: errNoBatch}
	}
	if l.plain != nil {
		return l.plain.SendBatch(ctx, b)
	}
	return l.sendBatch(ctx, b, false)
}

// CopyFrom is [pgx.Conn.CopyFrom], but returns when ctx ends: see [Pool.CopyFrom]. While a value that hangs is being encoded
// the lease is busy, also after that.
func (l *Lease) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	if src == nil {
		return 0, errNoSource
	}
	if l.plain != nil {
		return l.plain.CopyFrom(ctx, table, columns, src)
	}
	c, err := l.enter("copy " + table.Sanitize())
	if err != nil {
		return 0, err
	}
	return l.copyFrom(ctx, c, table, columns, src)
}

// Begin starts a transaction on the lease, which stays the caller's to Release.
func (l *Lease) Begin(ctx context.Context) (pgx.Tx, error) {
	return l.BeginTx(ctx, pgx.TxOptions{})
}

// BeginTx is Begin with options.
func (l *Lease) BeginTx(ctx context.Context, opts pgx.TxOptions) (pgx.Tx, error) {
	if l.plain != nil {
		return l.plain.BeginTx(ctx, opts)
	}
	return l.begin(ctx, opts, false)
}

// Ping checks that the server answers.
func (l *Lease) Ping(ctx context.Context) error {
	if l.plain != nil {
		return l.plain.Ping(ctx)
	}
	c, err := l.enter("ping")
	if err != nil {
		return err
	}
	defer l.leave()
	return l.c.wrapError(c.Ping(ctx))
}

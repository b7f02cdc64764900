package pool

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/gostack"
	"github.com/lmipool/lmipool/internal/sched"
	"github.com/lmipool/lmipool/internal/session"
	"github.com/lmipool/lmipool/internal/sqltext"
)

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
	h.Doing = sqltext.Cut(l.sql, 200)
	l.mu.Unlock()
	if l.scope != nil {
		h.Scope = l.scope.name
	}
	h.Stack = l.stack.Lines()
	return h
}

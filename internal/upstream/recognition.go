// Package upstream finds out, where nobody has said it, whether there is a pooler between the pool and PostgreSQL, and
// says what that means for each connection ([Reach]). A [Recognition] owns what was found. There are two findings, of which the second is the harder.
//
// *Pooled*: the process that the server named at login is not the one that answers. That is found out on each connection, before
// anything else is said on it. It proves that there is a pooler, and not that the session is shared: in session mode it is this connection's alone.
//
// *Shared*: two transactions of one connection ran in two processes; or one process has answered two connections that were
// both alive; or a name that pgx derives from a statement's text was there before pgx prepared it. Until then a session counts as shared
// for whatever is sent to it, and as ours for what is left in it: a reset could meet the session of somebody else, so the connection is closed.
package upstream

import (
	"log/slog"
	"net"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/session"
)

// Kind is how a connection reaches PostgreSQL.
type Kind uint8

const (
	Unknown Kind = iota // nobody has said it, and nobody has asked
	Direct              // the session is this connection's alone
	Pooled              // there is a pooler in between: the session may be anybody's at the next transaction
)

// Config is what a pool says once.
type Config struct {
	Said       Kind              // of all connections; Unknown: nobody has said it
	Asks       bool              // each new connection is asked
	PoolerMode pgx.QueryExecMode // pgx's mode for connections that were asked and are Pooled; 0: the same as for others
	Isolation  bool              // what users leave is taken away
	Replace    func() bool       // begins to dial another connection for one that is to go; false: there is no room for both
	Log        *slog.Logger
}

// Recognition is what is known of all connections of a pool.
type Recognition struct {
	cfg Config

	pooled atomic.Bool // of the last connection
	warned atomic.Bool // somebody was told of the pooler
	shared atomic.Bool // proved, on any connection, for good

	mu    sync.Mutex
	next  chan struct{}              // closed when the next connection has met its process; nil: nobody waits
	tries int                        // to have two connections meet one process
	last  map[session.Backend]*Reach // of the last connection that each process has answered
}

// New returns a Recognition that has met nobody.
func New(c Config) *Recognition {
	return &Recognition{cfg: c, last: make(map[session.Backend]*Reach)}
}

// Asks reports whether a new connection is to be asked who answers it.
func (r *Recognition) Asks() bool { return r.cfg.Asks }

// MetPooler reports whether a connection has turned out to be pooled, ever.
func (r *Recognition) MetPooler() bool { return r.warned.Load() }

// foundPooled notes whether the last connection, to server, is pooled.
func (r *Recognition) foundPooled(pooled bool, server net.Addr) {
	r.pooled.Store(pooled)
	if pooled && !r.warned.Swap(true) {
		r.cfg.Log.Warn("lmipool: there is a pooler between this pool and PostgreSQL, and nobody has said which."+
			" It is taken to share its sessions: nothing is prepared or set in them, and a connection that may have left something in one is closed."+
			" Say what it is with Config.Upstream or LMIPOOL_UPSTREAM: \"pgbouncer\" or \"rds-proxy\" if it gives each transaction another session (then Isolation is off),"+
			" \"direct\" if each connection has a session for itself", "server", server)
	}
}

// foundShared notes that sessions are shared, because of why.
func (r *Recognition) foundShared(why string) {
	if !r.shared.Swap(true) {
		r.cfg.Log.Warn("lmipool: the pooler gives each transaction another session: Isolation is off from now on, as with Config.Upstream or LMIPOOL_UPSTREAM \"pgbouncer\"", "why", why)
	}
}

// met notes that q's process has answered q. If another connection was answered by it, one that
// is still alive, they share it: that one finds out, see [Reach.AskAgain].
func (r *Recognition) met(q *Reach) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if o := r.last[q.backend]; o != nil && o != q {
		o.doubled.Store(true)
	}
	r.last[q.backend] = q
	if r.next != nil {
		close(r.next)
		r.next = nil
	}
}

// maxTries is how many connections wait for a twin.
const maxTries = 8

// twin returns what is closed when the next connection has met its process; nil: that was tried often enough.
func (r *Recognition) twin() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tries++; r.tries > maxTries {
		return nil
	}
	if r.next == nil {
		r.next = make(chan struct{})
	}
	return r.next
}

// left forgets q, which is closed.
func (r *Recognition) left(q *Reach) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last[q.backend] == q {
		delete(r.last, q.backend)
	}
}

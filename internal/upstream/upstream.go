// Package upstream finds out, unless the configuration says it, whether there is a pooler between the pool and PostgreSQL, and what that means for
// each connection ([Reach]). A [Recognition] owns what was found. There are two findings.
//
// *Pooled*: the process that the server named at login is not the one that answers, which is asked on each connection, before anything else is sent.
// So there is a pooler, but in session mode the session is this connection's alone.
//
// *Shared*: two transactions of one connection ran in two processes; or one process has answered two connections that were both open; or a name of pgx's
// was prepared before pgx prepared it. Until one of these is seen, nothing is prepared or set in a pooled session, as if it were shared; and if a user
// leaves something in it the connection is closed, as if it were not, since a reset could reach somebody else's session.
package upstream

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/session"
)

// Kind is how a connection reaches PostgreSQL.
type Kind uint8

const (
	Unknown Kind = iota // the configuration does not say it, and the connection was not asked
	Direct              // the session is this connection's alone
	Pooled              // there is a pooler in between: the next transaction may run in another session
)

// Config is what a pool says once.
type Config struct {
	Said       Kind              // what the configuration says; Unknown: nothing
	Asks       bool              // each new connection is asked
	PoolerMode pgx.QueryExecMode // pgx's mode for connections that were asked and are Pooled; 0: the same as for others
	Isolation  bool              // what users leave is taken away
	Replace    func() bool       // begins to dial a connection in place of one that will be closed; false: there is no room for both
	Log        *slog.Logger
}

// Recognition is what is known of all connections of a pool.
type Recognition struct {
	cfg Config

	pooled atomic.Bool // the last connection is
	warned atomic.Bool // the pooler was logged
	shared atomic.Bool // this was seen on any connection; it is never taken back

	mu    sync.Mutex
	next  chan struct{}              // closed when the next connection has met its process; nil: nobody waits
	tries int                        // to have two connections meet one process
	last  map[session.Backend]*Reach // of the last connection that each process has answered
}

func New(c Config) *Recognition { return &Recognition{cfg: c, last: make(map[session.Backend]*Reach)} }

// Asks reports whether a new connection is to be asked who answers it.
func (r *Recognition) Asks() bool { return r.cfg.Asks }

// MetPooler reports whether a connection has turned out to be pooled, ever.
func (r *Recognition) MetPooler() bool { return r.warned.Load() }

// Reach is how one connection reaches PostgreSQL. Only the connection's owner uses it.
type Reach struct {
	Mode      pgx.QueryExecMode // pgx's, on the connection
	ForPooler bool              // Mode was chosen because a pooler was found that the configuration does not name

	of       *Recognition
	kind     Kind
	backend  session.Backend // the process that has answered first
	redialed bool            // ForPooler was found to be wrong, and was changed
	doubled  atomic.Bool     // backend has answered another connection too
	askAt    time.Time       // when to ask again who answers
	askEvery time.Duration
}

// Dial returns the Reach of a connection that is about to be dialed.
func (r *Recognition) Dial() *Reach { return &Reach{of: r} }

// ErrOtherMode ends a dial whose pgx mode is not that for what it has found: a pooler, or none.
var ErrOtherMode = errors.New("lmipool: pgx's mode is not that for what is upstream")

// MaxModes is how many tries one dial may need: the third accepts whatever it finds.
const MaxModes = 3

// Prepare gives cc, with which q is dialed, the mode for what q's last try has found, or else the last dial.
func (q *Reach) Prepare(cc *pgx.ConnConfig) {
	if !q.redialed {
		q.ForPooler = q.of.cfg.PoolerMode != 0 && q.of.pooled.Load()
	}
	if q.ForPooler {
		cc.DefaultQueryExecMode = q.of.cfg.PoolerMode
	}
}

// Answered notes that b answered first on a new connection to server, which named the process pid at login. ErrOtherMode: it has to be dialed again.
func (q *Reach) Answered(b session.Backend, pid uint32, server net.Addr) error {
	q.backend, q.kind = b, Direct
	if b.PID != pid {
		q.kind = Pooled
	}
	r := q.of
	r.pooled.Store(!q.Own())
	if !q.Own() && !r.warned.Swap(true) {
		r.cfg.Log.Warn("lmipool: there is a pooler between this pool and PostgreSQL, and nobody has said which."+
			" It is taken to share its sessions: nothing is prepared or set in them, and a connection that may have left something in one is closed."+
			" Say what it is with Config.Upstream or LMIPOOL_UPSTREAM: \"pgbouncer\" or \"rds-proxy\" if it gives each transaction another session (then Isolation is off),"+
			" \"direct\" if each connection has a session for itself", "server", server)
	}
	if r.cfg.PoolerMode != 0 && q.ForPooler == q.Own() && (!q.Own() || !q.redialed) { // a direct one works in the mode for a pooler too
		q.ForPooler, q.redialed = !q.Own(), true
		return ErrOtherMode
	}
	if !q.Own() {
		r.met(q)
	}
	return nil
}

// met notes that q's process has answered q. If it has answered another open connection before, they share it: that one finds out in [Reach.AskAgain].
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

// Dialed notes that the dial is over, and the connection's mode, which BeforeConnect may have chosen.
func (q *Reach) Dialed(mode pgx.QueryExecMode) {
	if q.Mode = mode; !q.of.cfg.Asks {
		q.kind = q.of.cfg.Said
	}
}

// Left notes that the connection is closed.
func (q *Reach) Left() {
	q.of.mu.Lock()
	defer q.of.mu.Unlock()
	if q.of.last[q.backend] == q {
		delete(q.of.last, q.backend)
	}
}

// Own reports whether the session is certainly the connection's alone. Only then is anything prepared or set in it.
func (q *Reach) Own() bool { return q.kind == Direct }

// Pooled reports whether there is a pooler in between.
func (q *Reach) Pooled() bool { return q.kind == Pooled }

// Isolates reports whether what the connection's users leave behind is taken away.
func (q *Reach) Isolates() bool { return q.Resets() && (q.Own() || !q.of.shared.Load()) }

// Resets reports whether the session is reset between its users unless it is shared. In exec mode, which BeforeConnect may choose, it cannot be.
func (q *Reach) Resets() bool { return q.of.cfg.Isolation && q.Mode != pgx.QueryExecModeExec }

// One process answers two open connections only if sessions are shared. So the first few that would be closed wait for the one that takes their place.
const (
	maxTries = 8
	tryFor   = 100 * time.Millisecond
)

// AwaitTwin waits until another connection has been answered, perhaps by q's process.
func (q *Reach) AwaitTwin(ctx context.Context) {
	if !q.Isolates() || q.doubled.Load() {
		return
	}
	r := q.of
	r.mu.Lock()
	r.tries++
	try := r.tries <= maxTries
	if try && r.next == nil {
		r.next = make(chan struct{})
	}
	twin := r.next
	r.mu.Unlock()
	if !try || !r.cfg.Replace() {
		return
	}
	select {
	case <-twin:
	case <-time.After(tryFor): // the other may be waiting until q's connection is closed
	case <-ctx.Done():
	}
}

// Asking again costs a round trip, between two users of a connection.
const (
	firstAsk = 5 * time.Millisecond // after the first user; then twice that, and so on
	lastAsk  = 10 * time.Second
)

// Wonders reports whether the connection is to be asked again who answers it.
func (q *Reach) Wonders(now time.Time) bool {
	return q.Pooled() && q.Isolates() && (q.doubled.Load() || !now.Before(q.askAt))
}

// AskAgain asks on pc, q's connection, who answers now. The session is shared if that is another process, or one that another connection met too.
func (q *Reach) AskAgain(ctx context.Context, pc *pgconn.PgConn) error {
	q.askEvery = min(max(2*q.askEvery, firstAsk), lastAsk)
	q.askAt = time.Now().Add(q.askEvery)
	doubled := q.doubled.Load() // before the answer
	b, err := session.WhoAnswers(ctx, pc)
	switch {
	case err != nil:
		return err
	case b != q.backend:
		q.share("two transactions of one connection ran in two server processes")
	case doubled:
		q.share("one server process has answered two connections")
	}
	return nil
}

// share notes that sessions are shared; why says how that was seen.
func (q *Reach) share(why string) {
	if q.Pooled() && q.Resets() && !q.of.shared.Swap(true) {
		q.of.cfg.Log.Warn("lmipool: the pooler gives each transaction another session: Isolation is off from now on, as with Config.Upstream or LMIPOOL_UPSTREAM \"pgbouncer\"", "why", why)
	}
}

// Conflicts looks at what err says about the connection's sessions. A name of pgx's that exists before pgx has prepared it was prepared by another
// client. A name that is missing proves nothing, since the user may have dropped all statements, but it is a reason to ask again.
func (q *Reach) Conflicts(err error) {
	var e *pgconn.PgError
	if !q.Pooled() || !errors.As(err, &e) {
		return
	}
	switch {
	case e.Code == "42P05" && pgxsName.MatchString(e.Message):
		q.share("a prepared statement of pgx's was there before it was prepared")
	case e.Code == "26000":
		q.askAt = time.Time{}
	}
}

// pgxsName matches, in an error's message, the name that pgx derives from a statement's text.
var pgxsName = regexp.MustCompile(`"stmtcache_[0-9a-f]+"`)

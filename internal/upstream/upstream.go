// Package upstream finds out whether there is a pooler between the pool and PostgreSQL, unless the configuration says so, and what that means for
// each connection ([Reach]). A [Recognition] holds what was found for the whole pool. There are two findings.
//
// *Pooled*: the process id that the server named at login is not that of the process that answers. Each new connection is asked for that process
// before anything else is sent. Then there is a pooler. In session mode, though, the session still belongs to this connection alone.
//
// *Shared*: two transactions of one connection ran in two processes, or one process has answered two connections that were both open, or a name that
// pgx was about to prepare was already prepared. Until one of these is seen, nobody knows whether a pooled session is shared. So nothing is prepared or
// set in it, and if a user leaves something in it, the connection is closed: a reset could reach somebody else's session.
package upstream

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/pattern"
	"github.com/lmipool/lmipool/internal/session"
)

// Kind is how a connection reaches PostgreSQL.
type Kind uint8

const (
	Unknown Kind = iota // the configuration does not say it, and the connection was not asked
	Direct              // the session is this connection's alone
	Pooled              // there is a pooler in between, so the next transaction may run in another session
)

// Config is what a pool tells New about itself.
type Config struct {
	Said       Kind              // what the user's configuration says; Unknown if it says nothing
	Asks       bool              // each new connection is asked
	PoolerMode pgx.QueryExecMode // pgx's mode for connections that turned out to be Pooled; 0 if they have the same mode as others
	Isolation  bool              // what a user leaves in a session is taken away
	Replace    func() bool       // begins to dial a connection in place of one that will be closed; returns false if there is no room for both
	Log        *slog.Logger
}

// Recognition is what a pool knows about the way from its connections to PostgreSQL.
type Recognition struct {
	cfg Config

	pooled atomic.Bool // the newest connection is pooled
	warned atomic.Bool // the warning that there is a pooler was logged
	shared atomic.Bool // sharing was seen on some connection; this is never taken back

	mu    sync.Mutex
	next  chan struct{}              // closed when a process has answered the next new connection; nil if nobody waits for that
	tries int                        // how often AwaitTwin was to wait
	last  map[session.Backend]*Reach // the last connection that each process has answered
}

func New(c Config) *Recognition { return &Recognition{cfg: c, last: make(map[session.Backend]*Reach)} }

// Asks reports whether a new connection is to be asked who answers it.
func (r *Recognition) Asks() bool { return r.cfg.Asks }

// MetPooler reports whether any connection has ever turned out to be pooled.
func (r *Recognition) MetPooler() bool { return r.warned.Load() }

// Reach is how one connection reaches PostgreSQL. Only the connection's owner uses it.
type Reach struct {
	Mode      pgx.QueryExecMode // pgx's mode on the connection
	ForPooler bool              // Mode was chosen because a pooler was found that the configuration does not name

	of       *Recognition
	kind     Kind
	backend  session.Backend // the process that has answered first
	redialed bool            // ForPooler was found to be wrong and was changed, so the dial has another try
	doubled  atomic.Bool     // backend has answered another connection too
	askAt    time.Time       // when the connection is to be asked again which process answers
	askEvery time.Duration
}

// Dial returns the Reach of a connection that is about to be dialed.
func (r *Recognition) Dial() *Reach { return &Reach{of: r} }

// ErrOtherMode ends a dial that found a pooler, or none, and whose pgx mode was chosen for the other case. The caller dials again.
var ErrOtherMode = errors.New("lmipool: pgx's mode is not that for what is upstream")

// MaxModes is how many tries one dial may need. The third try accepts whatever it finds.
const MaxModes = 3

// Prepare sets pgx's mode in cc, with which q is dialed. It goes by what q's last try has found or, on q's first try, by the last dial.
func (q *Reach) Prepare(cc *pgx.ConnConfig) {
	if !q.redialed {
		q.ForPooler = q.of.cfg.PoolerMode != 0 && q.of.pooled.Load()
	}
	if q.ForPooler {
		cc.DefaultQueryExecMode = q.of.cfg.PoolerMode
	}
}

// Answered notes that b answered first on a new connection to server, which named the process pid at login. ErrOtherMode means: dial again.
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
			" \"direct\" if each connection has a session for itself", "server", server.String())
	}
	if r.cfg.PoolerMode != 0 && q.ForPooler == q.Own() && (!q.Own() || !q.redialed) { // a direct connection works in the mode for a pooler too
		q.ForPooler, q.redialed = !q.Own(), true
		return ErrOtherMode
	}
	if !q.Own() {
		r.met(q)
	}
	return nil
}

// met notes that q's process has answered q. If it has answered another open connection before, both share it; the other acts in [Reach.AskAgain].
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

// Dialed notes that the dial has ended, and with which mode: the user's BeforeConnect may have chosen another one.
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

// Isolates reports whether what a user leaves in the session is taken away, by a reset or by closing the connection.
func (q *Reach) Isolates() bool { return q.Resets() && (q.Own() || !q.of.shared.Load()) }

// Resets reports whether what a user leaves is taken away unless sessions are shared. In exec mode, which BeforeConnect may choose, that is impossible.
func (q *Reach) Resets() bool { return q.of.cfg.Isolation && q.Mode != pgx.QueryExecModeExec }

// One process answers two open connections only if sessions are shared. So the first maxTries connections that would be closed stay open until their
// replacement has been answered: perhaps the same process answers it, and then closing them was not needed.
const (
	maxTries = 8
	tryFor   = 100 * time.Millisecond
)

// AwaitTwin is called before q's connection is closed. It dials a replacement and waits until that has been answered, perhaps by q's process.
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
	case <-time.After(tryFor): // the pooler may answer the other connection only after q's is closed
	case <-ctx.Done():
	}
}

// Asking a connection again costs a round trip between two of its users, so it is asked more and more rarely.
const (
	firstAsk = 5 * time.Millisecond // after the first user; each pause is twice the one before, up to lastAsk
	lastAsk  = 10 * time.Second
)

// Wonders reports whether it is time to ask the connection again which process answers it.
func (q *Reach) Wonders(now time.Time) bool {
	return q.Pooled() && q.Isolates() && (q.doubled.Load() || !now.Before(q.askAt))
}

// AskAgain asks on pc, q's connection, which process answers now. Sessions are shared if it is another than at first, or answers another connection too.
func (q *Reach) AskAgain(ctx context.Context, pc *pgconn.PgConn) error {
	q.askEvery = min(max(2*q.askEvery, firstAsk), lastAsk)
	q.askAt = time.Now().Add(q.askEvery)
	doubled := q.doubled.Load() // read before asking: what is noted later may be about a process that q has lost since
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

// share notes that sessions are shared. why is for the log, and says how that was seen.
func (q *Reach) share(why string) {
	if q.Pooled() && q.Resets() && !q.of.shared.Swap(true) {
		q.of.cfg.Log.Warn("lmipool: the pooler gives each transaction another session: Isolation is off from now on, as with Config.Upstream or LMIPOOL_UPSTREAM \"pgbouncer\"", "why", why)
	}
}

// Conflicts looks for a sign in err that sessions are shared. If a name of pgx's exists before pgx has prepared it, another client has prepared it in
// this session. A missing name proves nothing, since the user may have dropped all statements, but then q is asked again soon.
func (q *Reach) Conflicts(err error) {
	var e *pgconn.PgError
	if !q.Pooled() || !errors.As(err, &e) {
		return
	}
	switch {
	case e.Code == "42P05" && pgxsName.RE().MatchString(e.Message):
		q.share("a prepared statement of pgx's was there before it was prepared")
	case e.Code == "26000":
		q.askAt = time.Time{}
	}
}

// pgxsName matches, in an error's message, the name that pgx derives from a statement's text.
var pgxsName = pattern.Lazy{Text: `"stmtcache_[0-9a-f]+"`}

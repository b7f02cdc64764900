package pool

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/pgcancel"
	"github.com/lmipool/lmipool/internal/pgdial"
	"github.com/lmipool/lmipool/internal/session"
)

// reach is how a connection reaches PostgreSQL.
type reach uint8

const (
	reachUnknown reach = iota // nobody has said it, and nobody has asked
	reachDirect               // the session is this connection's alone
	reachPooled               // there is a pooler in between: the session may be anybody's at the next transaction
)

// recognition finds out what is upstream where nobody has said it (UpstreamAuto), and is the
// owner of what was found. It has two findings, of which the second is the harder.
//
// *Pooled*: the process that the server named at login is not the one that answers. That is
// found out on each connection, before anything else is said on it. It proves that there is a
// pooler, and not that the session is shared: in session mode it is this connection's alone.
//
// *Shared*: two transactions of one connection ran in two processes; or one process has answered
// two connections that were both alive; or a name that pgx derives from a statement's text was
// there before pgx prepared it. Until then a session counts as shared for whatever is sent to
// it, and as ours for what is left in it: see [conn.handOn].
type recognition struct {
	said  bool // somebody has said what is upstream, or its name
	asks  bool // each new connection is asked
	modes bool // pgx's mode follows from what is found

	pooled atomic.Bool // of the last connection
	warned atomic.Bool // somebody was told of the pooler
	shared atomic.Bool // proved, on any connection, for good

	mu     sync.Mutex
	next   chan struct{}             // closed when the next connection has met its process; nil: nobody waits
	tries  int                       // to have two connections meet one process
	last   map[session.Backend]*conn // the last connection that each process has answered
	doubts []*catalog.Statement      // what connections were closed without looking at
}

// init is for a pool with c and cc. Where there is nothing that hangs on it, nobody is asked.
func (r *recognition) init(c *Config, cc *pgx.ConnConfig, auto, rides bool) {
	r.said = !auto || c.Upstream.shares()
	r.asks = !r.said && !c.Plain && (rides || c.Isolation != IsolationOff)
	r.modes = r.asks && cc.DescriptionCacheCapacity > 0 && pgdial.PoolerMode(cc) != cc.DefaultQueryExecMode
}

// own reports whether the session of c is c's alone, for certain: only then is anything
// prepared or set in it.
func (c *conn) own() bool { return c.reach == reachDirect }

// isolates reports whether what c's users leave behind is taken away.
func (c *conn) isolates() bool {
	return c.resets() && (c.own() || !c.p.recognition.shared.Load())
}

// resets reports whether c is reset between its users, unless its session is shared. BeforeConnect may have given it
// a mode in which it cannot be.
func (c *conn) resets() bool {
	return c.p.cfg.Isolation != IsolationOff && c.mode != pgx.QueryExecModeExec
}

// errOtherMode ends a dial that was prepared for another way than it has found.
var errOtherMode = errors.New("lmipool: pgx's mode is not that for what is upstream")

// maxModes is how many tries one dial may need: the third takes whatever it meets.
const maxModes = 3

// recognise asks, as the very first thing on a new connection, who answers, and keeps what the
// session is like, which is read in the same round trip. Without names, and in a transaction of
// its own, so that it leaves nothing in a session that may be somebody else's.
func (c *conn) recognise(ctx context.Context, pg *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, c.p.cfg.ConnectTimeout)
	defer cancel()
	defer c.wire.PauseRecord()() // this is not what a hook says
	s, err := session.Read(ctx, pg, nil, false)
	if err != nil {
		return fmt.Errorf("lmipool: reading what the session is like: %w", err)
	}
	pgcancel.Of(pg.PgConn()).Begun()
	c.session, c.backend, c.reach = s, s.Backend, reachDirect
	if s.Backend.PID != pg.PgConn().PID() {
		c.reach = reachPooled
	}
	r := &c.p.recognition
	r.pooled.Store(!c.own())
	if !c.own() && !r.warned.Swap(true) {
		c.p.log.Warn("lmipool: there is a pooler between this pool and PostgreSQL, and nobody has said which."+
			" It is taken to share its sessions: nothing is prepared or set in them, and a connection that may have left something in one is closed."+
			" Say what it is with Config.Upstream or LMIPOOL_UPSTREAM: \"pgbouncer\" or \"rds-proxy\" if it gives each transaction another session (then Isolation is off),"+
			" \"direct\" if each connection has a session for itself", "server", pg.PgConn().Conn().RemoteAddr())
	}
	if r.modes && c.forPooler == c.own() && (!c.own() || !c.redialed) { // a direct one may be described for, if need be
		c.forPooler, c.redialed = !c.own(), true
		return errOtherMode
	}
	if !c.own() {
		r.met(c)
	}
	return nil
}

// recognising has a new connection be recognised before AfterConnect.
func (p *Pool) recognising(after func(context.Context, *pgx.Conn) error) func(context.Context, *pgx.Conn) error {
	if !p.recognition.asks {
		return after
	}
	return func(ctx context.Context, pg *pgx.Conn) error {
		c, ok := ctx.Value(dialingKey{}).(*conn)
		if ok {
			if err := c.recognise(ctx, pg); err != nil {
				return err
			}
		}
		if after == nil {
			return nil
		}
		err := after(ctx, pg)
		if err != nil && ok { // here, since who dials may be gone
			p.recognition.left(c)
		}
		return err
	}
}

// prepareFor gives cc the mode for what the last dial, or c's own last try, has found.
func (r *recognition) prepareFor(c *conn, cc *pgx.ConnConfig) {
	if !c.redialed {
		c.forPooler = r.modes && r.pooled.Load()
	}
	if c.forPooler {
		cc.DefaultQueryExecMode = pgdial.PoolerMode(cc)
	}
}

// met notes that c's process has answered c. If another connection was answered by it, one that
// is still alive, they share it: that one finds out, see askAgain.
func (r *recognition) met(c *conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last == nil {
		r.last = make(map[session.Backend]*conn)
	}
	if o := r.last[c.backend]; o != nil && o != c {
		o.doubled.Store(true)
	}
	r.last[c.backend] = c
	if r.next != nil {
		close(r.next)
		r.next = nil
	}
}

// Two connections that are there at once meet one process only if it is shared. So the first few that
// would be closed wait for the one that takes their place, as long as a dial may take.
const (
	maxTries = 8
	tryFor   = 100 * time.Millisecond
)

// awaitTwin waits until another connection has been answered, perhaps by c's process.
func (c *conn) awaitTwin(ctx context.Context) {
	r := &c.p.recognition
	if !c.isolates() || c.doubled.Load() {
		return
	}
	r.mu.Lock()
	r.tries++
	try := r.tries <= maxTries
	if try && r.next == nil {
		r.next = make(chan struct{})
	}
	next := r.next
	r.mu.Unlock()
	if !try || !c.p.sched.Replace() {
		return
	}
	t := time.NewTimer(tryFor)
	defer t.Stop()
	select {
	case <-next:
	case <-t.C: // it may wait for c to go
	case <-ctx.Done():
	}
}

// left forgets c, which is closed.
func (r *recognition) left(c *conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last[c.backend] == c {
		delete(r.last, c.backend)
	}
}

// Asking again costs a round trip, between two users of a connection.
const (
	firstAsk = 5 * time.Millisecond // after the first user; then twice that, and so on
	lastAsk  = 10 * time.Second
)

// wonders reports whether c is to ask again who answers it.
func (c *conn) wonders(now time.Time) bool {
	if c.reach != reachPooled || !c.isolates() {
		return false
	}
	return c.doubled.Load() || !now.Before(c.askAt)
}

// askAgain asks who answers c now. Another process than at first: the session is shared. So it is
// if another connection had heard of that process meanwhile, since c, which has had it
// before, is still there.
func (c *conn) askAgain(ctx context.Context) error {
	c.askEvery = min(max(2*c.askEvery, firstAsk), lastAsk)
	c.askAt = time.Now().Add(c.askEvery)
	doubled := c.doubled.Load() // before the answer
	b, err := session.WhoAnswers(ctx, c.pg.PgConn())
	switch {
	case err != nil:
		return err
	case b != c.backend:
		c.share("two transactions of one connection ran in two server processes")
	case doubled:
		c.share("one server process has answered two connections")
	}
	return nil
}

// share notes that sessions are shared, because of why.
func (c *conn) share(why string) {
	if c.reach != reachPooled || !c.resets() || c.p.recognition.shared.Swap(true) {
		return
	}
	c.p.log.Warn("lmipool: the pooler gives each transaction another session: Isolation is off from now on, as with Config.Upstream or LMIPOOL_UPSTREAM \"pgbouncer\"", "why", why)
}

// conflicts takes from err what it says of the sessions of c. A name of pgx's that is there before
// pgx has prepared it was prepared by another client. That one is missing proves nothing (its own user may have
// dropped all), but is reason to ask again.
func (c *conn) conflicts(err error) {
	var e *pgconn.PgError
	if c.reach != reachPooled || !errors.As(err, &e) {
		return
	}
	switch {
	case e.Code == "42P05" && pgxsName.MatchString(e.Message):
		c.share("a prepared statement of pgx's was there before it was prepared")
	case e.Code == "26000":
		c.askAt = time.Time{}
	}
}

// pgxsName is in the message of an error about a statement that pgx has named by its text.
var pgxsName = regexp.MustCompile(`"stmtcache_[0-9a-f]+"`)

// maxDoubts is how many statements wait for a connection that can look at them.
const maxDoubts = 64

// postpone keeps doubts for the next new connection: c's session is not clean.
func (r *recognition) postpone(doubts []*catalog.Statement) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range doubts {
		if len(r.doubts) < maxDoubts && !slices.Contains(r.doubts, d) {
			r.doubts = append(r.doubts, d)
		}
	}
}

// takeDoubts returns some of what was postponed.
func (r *recognition) takeDoubts() []*catalog.Statement {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := min(maxUnsure, len(r.doubts))
	taken := slices.Clone(r.doubts[:n])
	r.doubts = r.doubts[n:]
	return taken
}

// lookAtPostponed has c, which is new, ask what others could not.
func (c *conn) lookAtPostponed() {
	if c.isolates() {
		c.p.protect("look", func() { // a type of the user's may panic
			for _, d := range c.p.recognition.takeDoubts() {
				c.learn(d)
			}
		})
	}
}

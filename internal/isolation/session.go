package isolation

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/pgwire"
	"github.com/lmipool/lmipool/internal/session"
	"github.com/lmipool/lmipool/internal/sqltext"
	"github.com/lmipool/lmipool/internal/upstream"
)

// Sessions is what all sessions of one pool share.
type Sessions struct {
	Catalog   *catalog.Store
	OnReset   func(*Session, sqltext.Trace) // is called at each reset with what was left, or may have been left
	OnLearned func()                        // is called when a statement may ride from now on
	Waits     func() bool                   // reports whether callers wait for a connection
	AtOnce    bool                          // nothing is put off; only tests set it, before the first use
	Log       *slog.Logger
	closes    sync.Once // see closesBecause
	patience
}

// Connection has all parts of the connection to which a Session belongs.
type Connection struct {
	PG    *pgx.Conn
	Wire  *pgwire.Conn
	Reach *upstream.Reach
	IsFit func() bool // reports whether the connection is open and idle, outside a transaction
}

// Session knows what one connection's session was like when it was new, and what its users have left in it. Only the connection's owner may use it.
type Session struct {
	*Sessions
	Connection
	Baseline *session.Baseline    // the session after AfterConnect; nil if it was not read
	Facts    *facts.Facts         // the facts about names on this connection; nil if statements are judged by their texts alone
	Types    func() *memrows.Set  // of its lane; nil: it has none
	Kept     facts.Kept           // the questions that the lane has prepared; nil if it prepares none
	hooks    []*catalog.Statement // AfterConnect's queries

	left    residue           // what users have left since the session was clean
	foreign foreign           // which values of sequences the session has from earlier users
	belief  facts.Belief      // when the facts last said that the session is clean without a reset
	strange bool              // texts may mean something else than when the session was new, and nobody resets it
	reports int32             // how many settings the server had reported when they were last right
	anew    []string          // texts that pgx has described under other settings
	kept    []string          // names of statements that users with the raw connection have prepared and not dropped
	named   map[string]string // the texts of statements that users have prepared, by name; "" if a text is not known
	commits commits
	given   pgerr.Arguments // the arguments of the last call
	route   route
	since   time.Time // since when looks, or the question for the sign, are put off; zero if nothing is
}

// timeout bounds each exchange between two users, so that a slow server does not keep the connection from the next user.
const timeout = time.Second

// Open makes s the session of the new connection c. was is the session's baseline before any hook has run, or nil if it was not read.
func (s *Session) Open(of *Sessions, c Connection, was *session.Baseline) {
	s.Sessions, s.Connection, s.Baseline = of, c, was
}

// Read reads the baseline after the hooks have run. It does nothing if Open got a baseline and no hook has sent anything since.
func (s *Session) Read(ctx context.Context) (err error) {
	own, isolates := s.Reach.Own(), s.Reach.Isolates()
	sent, hooks := s.Wire.Recorded()
	if s.Baseline != nil && !hooks {
		if own && isolates {
			s.Wire.Queue(session.LeaveWitness())
		}
		return nil
	}
	var heard *session.Heard
	if hooks {
		heard = session.Hear(sent, s.PG.PgConn())
		if s.Wire.Strayed() {
			heard.Doubt("a batch in exec mode, or pgconn's ExecBatch")
		}
	}
	if s.Baseline, err = session.Read(ctx, s.PG, heard, own && isolates); err != nil {
		return fmt.Errorf("lmipool: reading what the session is like: %w", err)
	}
	if hooks && isolates {
		for _, sql := range heard.Queries {
			s.hooks = append(s.hooks, s.Catalog.Find(sql, ""))
		}
		s.setsAnything(heard.Unsure)
	}
	return nil
}

// setsAnything logs that connections are closed instead of reset because AfterConnect runs a statement that may set any setting. runs is the start of
// that statement. If runs is "", setsAnything does nothing.
func (s *Sessions) setsAnything(runs string) {
	if runs != "" {
		s.closesBecause("AfterConnect runs what may set any setting", "set each by SET or set_config with a literal name, or in the connection string (options=-c app.x=y)", "runs", runs)
	}
}

// closesBecause logs once per pool why connections are closed instead of reset, and what the user can do about it.
func (s *Sessions) closesBecause(why, instead string, args ...any) {
	s.closes.Do(func() {
		s.Log.Warn("lmipool: "+why+", so a connection whose session a user has changed is closed instead of reset; "+instead, args...)
	})
}

// Subject returns what package catalog needs to look at statements on this connection. Nobody else may use the connection meanwhile.
func (s *Session) Subject() *catalog.Subject {
	return &catalog.Subject{Facts: s.Facts, Types: s.Types, Asker: facts.Asker{PG: s.PG.PgConn(), Guard: s.Baseline.Guard().Look, Kept: s.Kept}}
}

// Learn asks the server for what is not known yet about st. on is the session's Subject. The session must be clean, and nobody else may use it.
func (s *Session) Learn(st *catalog.Statement, on *catalog.Subject) {
	if s.Facts == nil {
		return
	}
	_, could := st.IsHarmless()
	if err := s.Catalog.Learn(st, on); err != nil {
		s.Log.Warn("lmipool: the catalogs could not be asked what statements may run; meanwhile they go alone", "error", err)
	}
	if _, can := st.IsHarmless(); can && !could {
		s.OnLearned()
	}
}

// Bind makes all statements from now on run with the settings w, or without settings if w is nil. It does nothing on a closed connection, where another
// goroutine of pgx may be sending the Terminate.
func (s *Session) Bind(w *session.Settings) {
	switch {
	case s.PG.PgConn().IsClosed():
	case w != nil:
		s.Wire.Bind(w.Prologue(s.Reach.Own()))
	default:
		s.Wire.Bind(nil)
	}
}

// Rest notes that nobody uses s now.
func (s *Session) Rest() {
	s.Bind(nil)
	s.noteArguments(pgerr.Arguments{})
}

// flush sends what is queued for the next exchange, because that exchange may bypass the wire. It does not wait for the answer. If the write fails,
// the next exchange fails too, so flush drops the error.
func (s *Session) flush() {
	if pc := s.PG.PgConn(); !pc.IsClosed() && !pc.IsBusy() {
		_ = s.Wire.Flush()
	}
}

// patience is what the sessions of a pool share, to put off looks.
type patience struct {
	waiting atomic.Int64 // since when callers have waited whenever a connection came back, in nanoseconds since opened; 0: nobody waited the last time
	looks   atomic.Int32 // how many sessions are asking for facts
}

// route is the application_name that the server shows while a user with a route has the session.
type route struct {
	own   string // the session's application_name before label was set
	label string // the last one that was set for a user; "" if none was
	reset bool   // a reset was queued since: it takes label away, and pgx does not know yet
	due   bool   // the lease's first exchange is to show name
	name  string // "" is the session's own
}

// On a new connection a look takes 20 to 80 ms, since the server plans each question with empty caches. Whoever comes for the connection meanwhile waits.
// So looks are put off until nobody is in the way, or until they pay because callers wait who could ride. Until then a reset takes away whatever the
// statements may have left. The question for the sign of the facts is put off in the same way. Nothing is put off in a database that has dblink: code
// behind a view or a trigger may open connections with it, which no reset takes away.
const (
	LookAfter = 20 * time.Millisecond // how long a connection is idle before it is used for what was put off
	// longest is how long looks are put off while the connection is in use, though nobody waits: a reset for each statement costs more in the long run.
	// The sign is put off for longestSign: when the last one is a second old, sessions are reset that the facts call clean.
	longest     = time.Second
	longestSign = 500 * time.Millisecond
)

// HasPutOff reports whether something was put off that the connection is to ask when it has been idle for LookAfter.
func (s *Session) HasPutOff(now time.Time) bool { return len(s.left.unsure) > 0 || s.signDue(now) }

func (s *Session) putsNothingOff() bool { return s.AtOnce || s.Baseline != nil && s.Baseline.Dialers }

func (s *Session) signDue(now time.Time) bool { return s.Facts != nil && s.Facts.IsDue(now) }

// LooksDue is called when the connection comes back. It reports whether looks and the sign are due now, before the next user gets the connection.
func (s *Session) LooksDue(now time.Time) bool {
	if s.left.urgent {
		return true
	}
	if !s.HasPutOff(now) {
		s.since = time.Time{}
		return false
	}
	if s.since.IsZero() {
		s.since = now
	}
	waits, sign := s.Waits(), s.signDue(now)
	pays := s.keepsWaiting(now, waits)
	switch {
	case s.putsNothingOff(), sign && (waits || now.Sub(s.since) > longestSign):
		return true
	case waits: // one connection at a time asks for facts
		return pays && (s.looks.Load() == 0 || !slices.ContainsFunc(s.left.unsure, func(st *catalog.Statement) bool { return !st.IsJudged() }))
	}
	return len(s.left.unsure) > 0 && now.Sub(s.since) > longest
}

// payAfter is how long callers have waited all the time when looks begin to pay: the wait has then cost about as much as a look does.
const payAfter = 10 * time.Millisecond

var opened = time.Now()

// keepsWaiting notes whether callers wait now, when a connection comes back, and reports whether they have waited for payAfter.
func (p *patience) keepsWaiting(now time.Time, wait bool) bool {
	if !wait {
		p.waiting.Store(0)
		return false
	}
	at := max(1, int64(now.Sub(opened))) // by the monotonic clock
	p.waiting.CompareAndSwap(0, at)
	return at-p.waiting.Load() >= int64(payAfter)
}

package isolation

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/pgwire"
	"github.com/lmipool/lmipool/internal/session"
	"github.com/lmipool/lmipool/internal/upstream"
)

// Sessions is what the sessions of one pool have in common.
type Sessions struct {
	Catalog   *catalog.Store
	OnReset   func() // counts a reset
	OnLearned func() // is called when a statement may ride from now on
	Log       *slog.Logger
	closes    sync.Once // see closesBecause
}

// Connection is the connection of a session.
type Connection struct {
	PG    *pgx.Conn
	Wire  *pgwire.Conn
	Reach *upstream.Reach
	IsFit func() bool // it is open and idle, outside a transaction
}

// Session is what one connection's session was like when it was new, and what its users have left in it. Only who has the connection may use it.
type Session struct {
	*Sessions
	Connection
	Baseline *session.Baseline    // after AfterConnect; nil: nothing is known to compare with
	Facts    *facts.Facts         // about names, as this connection reads them; nil: statements are judged by their texts alone
	Types    func() *memrows.Set  // of its lane; nil: it has none
	Kept     facts.Kept           // what its lane has prepared; nil: nothing
	hooks    []*catalog.Statement // AfterConnect's queries

	left    residue           // since it was clean
	foreign foreign           // which values of sequences it has from earlier users
	belief  facts.Belief      // why it is taken to be clean without a reset
	strange bool              // texts may mean something else in it than when it was new, and nobody resets it
	reports int32             // how many settings the server had reported when they were last right
	anew    []string          // texts that pgx has described under other settings
	kept    []string          // names of statements that users with the raw connection have prepared, and not dropped
	named   map[string]string // the texts of statements that users have prepared, by name; "": it is not known
	commits commits
	given   pgerr.Arguments // to the last call
}

// timeout bounds what is sent between two users.
const timeout = time.Second

// Open makes s the session of a new connection. was is what it was like before any hook, nil if that was not read.
func (s *Session) Open(of *Sessions, c Connection, was *session.Baseline) {
	s.Sessions, s.Connection, s.Baseline = of, c, was
}

// Read reads the baseline, unless it was read and no hook has sent anything since.
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

// setsAnything logs that sessions are closed instead of reset because AfterConnect runs something that may set any setting; "": it runs nothing of
// the kind.
func (s *Sessions) setsAnything(runs string) {
	if runs != "" {
		s.closesBecause("AfterConnect runs what may set any setting", "set each by SET or set_config with a literal name, or in the connection string (options=-c app.x=y)", "runs", runs)
	}
}

// closesBecause logs, once, why sessions are closed, with what to do instead.
func (s *Sessions) closesBecause(why, instead string, args ...any) {
	s.closes.Do(func() {
		s.Log.Warn("lmipool: "+why+", so a connection whose session a user has changed is closed instead of reset; "+instead, args...)
	})
}

// Subject is s as a connection on which statements are looked at. Nobody else may use it meanwhile.
func (s *Session) Subject() *catalog.Subject {
	return &catalog.Subject{Facts: s.Facts, Types: s.Types, Asker: facts.Asker{PG: s.PG.PgConn(), Guard: s.Baseline.Guard().Look, Kept: s.Kept}}
}

// Learn finds out what is not known yet of st. The session is clean, and nobody else uses the connection meanwhile.
func (s *Session) Learn(st *catalog.Statement) {
	if s.Facts == nil {
		return
	}
	could := st.IsHarmless()
	if err := s.Catalog.Learn(st, s.Subject()); err != nil {
		s.Log.Warn("lmipool: the catalogs could not be asked what statements may run; meanwhile they go alone", "error", err)
	}
	if !could && st.IsHarmless() {
		s.OnLearned()
	}
}

// Bind makes all that is sent from now on run with w, or without settings if w is nil. It does nothing on a closed connection, on which pgx may be
// sending its goodbye in a goroutine of its own.
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

// flush sends what is queued for the next exchange, because the wire may not see that exchange. It does not wait for the answer. If nothing can be
// written now, the next exchange fails too, so the error is dropped.
func (s *Session) flush() {
	if pc := s.PG.PgConn(); !pc.IsClosed() && !pc.IsBusy() {
		_ = s.Wire.Flush()
	}
}

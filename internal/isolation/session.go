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

// Sessions is what those of one pool have in common.
type Sessions struct {
	Catalog   *catalog.Store
	OnReset   func() // counts a reset
	OnLearned func() // a statement may ride from now on
	Log       *slog.Logger
	closes    sync.Once // it was said that sessions are closed
}

// Connection is what a session is of.
type Connection struct {
	PG    *pgx.Conn
	Wire  *pgwire.Conn
	Reach *upstream.Reach
	IsFit func() bool // the connection can be used as it is
}

// Session is what one connection's session was like when it was new, and what its users have left in it. It belongs to whom the connection belongs
// to.
type Session struct {
	*Sessions
	Connection
	Baseline *session.Baseline    // after AfterConnect; nil: nothing is known to compare with
	Facts    *facts.Facts         // about names, as this connection reads them; nil: nothing is judged by it
	Types    func() *memrows.Set  // of the lane that it carries; nil: none
	Kept     facts.Kept           // what that has prepared; nil: nothing
	hooks    []*catalog.Statement // of AfterConnect's, whose functions have to be looked at

	left    Left              // since it was clean
	foreign session.Foreign   // values of sequences
	belief  facts.Belief      // in that its users have left nothing
	strange bool              // texts may mean something else in it than when it was new, and nobody resets it
	reports int32             // of settings that the server had made when they were last right
	anew    []string          // texts that pgx has described under other settings
	kept    []string          // names of what users with the raw connection have prepared, and left
	named   map[string]string // what users have prepared, by its name; "": it is not known
	commits commits
	given   pgerr.Arguments // to the last call
}

// timeout bounds what is asked between two users.
const timeout = time.Second

// Open makes s the session of a new connection. was is what it was like before any hook; nil: nobody has read that.
func (s *Session) Open(of *Sessions, c Connection, was *session.Baseline) {
	s.Sessions, s.Connection, s.Baseline = of, c, was
}

// Read reads what it is like, unless that is known: a hook may have sent something since.
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

// setsAnything logs, once, that sessions are closed that could otherwise be reset, because AfterConnect runs what may set anything; "": it does not.
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

// Subject is s, which nobody else uses just now, as one on which statements are looked at.
func (s *Session) Subject() *catalog.Subject {
	return &catalog.Subject{Facts: s.Facts, Types: s.Types, Asker: facts.Asker{PG: s.PG.PgConn(), Guard: s.Baseline.Guard().Look, Kept: s.Kept}}
}

// Learn finds out what is not known yet of st, on a connection that is nobody's just now and whose session is clean.
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

// Bind has all that is sent from now on run with w, or with nothing. A connection that is closed is left alone: pgx may be saying goodbye on it, in a
// goroutine of its own.
func (s *Session) Bind(w *session.Settings) {
	switch {
	case s.PG.PgConn().IsClosed():
	case w != nil:
		s.Wire.Bind(w.Prologue(s.Reach.Own()))
	default:
		s.Wire.Bind(nil)
	}
}

// flush sends what is to go in front of the next flight, and does not wait for the answer, since that flight may be one that the wire does not see.
// If it cannot be written, nothing else can.
func (s *Session) flush() {
	if pc := s.PG.PgConn(); !pc.IsClosed() && !pc.IsBusy() {
		_ = s.Wire.Flush()
	}
}

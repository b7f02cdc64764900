package pool

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/awshost"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/session"
	"github.com/lmipool/lmipool/internal/sslmode"
)

// writer says whether what the pool connects to is to be a writer. A pool is told so, by
// target_session_attrs or by the name of an Aurora writer, or learns it: once something was
// written through it, a standby in the same place is the same place no more. A pool that
// only reads takes what it gets.
//
// A server can be no writer without being a standby: in a blue/green switch-over the old one
// stays a primary and is made read-only by its configuration. That alone proves nothing, since an
// application may say READ WRITE in each transaction that writes. So it counts once a write was
// refused where sessions used to begin as writers, and then until a session begins as one again.
type writer struct {
	never  bool // it was told otherwise, or something in between knows better
	wanted atomic.Bool
	open   atomic.Bool // the last new session began as one that writes
	shut   atomic.Bool // since then the server's configuration has had a write refused
}

// why is why the pool's server is no writer.
func (w *writer) why() error {
	if w.shut.Load() {
		return pgerr.ErrReadOnlyServer
	}
	return pgerr.ErrStandby
}

// misses reports why a server as it stands is not what the pool wants; nil if it is.
func (w *writer) misses(s standing) error {
	switch {
	case !w.wanted.Load():
	case s == standsBy:
		return pgerr.ErrStandby
	case s == readsOnly && w.shut.Load():
		return pgerr.ErrReadOnlyServer
	}
	return nil
}

// began learns from a new session whether writing is its default.
func (w *writer) began(readOnly string) {
	if readOnly == "off" {
		w.open.Store(true)
		w.shut.Store(false)
	}
}

// refused learns that a server that stands as s has refused a write. It reports false if the
// connection is of no use to whoever writes.
func (w *writer) refused(s standing) bool {
	if s == readsOnly && w.wanted.Load() && w.open.Load() {
		w.shut.Store(true)
	}
	return s != readsOnly && w.misses(s) == nil
}

// newWriter is what the connection string says.
func newWriter(cc *pgx.ConnConfig, up Upstream) (never, wanted bool) {
	is := func(f func(context.Context, *pgconn.PgConn) error) bool { // pgx keeps no more of the word
		return cc.ValidateConnect != nil && reflect.ValueOf(cc.ValidateConnect).Pointer() == reflect.ValueOf(f).Pointer()
	}
	switch {
	case is(pgconn.ValidateConnectTargetSessionAttrsReadOnly), is(pgconn.ValidateConnectTargetSessionAttrsStandby),
		is(pgconn.ValidateConnectTargetSessionAttrsPreferStandby), up == UpstreamRDSProxy: // that fails over by itself
		return true, false
	case is(pgconn.ValidateConnectTargetSessionAttrsReadWrite), is(pgconn.ValidateConnectTargetSessionAttrsPrimary):
		return false, true
	}
	for _, h := range sslmode.Hosts(&cc.Config) {
		if a, ok := awshost.Parse(h.Host); ok {
			never = never || a.Kind == awshost.Reader || a.Kind == awshost.Custom
			wanted = wanted || a.Kind == awshost.Writer || a.Kind == awshost.Global
		}
	}
	return never, wanted && !never
}

// wrote learns from what a command has done that the server was no standby.
func (w *writer) wrote(tag pgconn.CommandTag) {
	if w.never || w.wanted.Load() {
		return
	}
	word, of, _ := strings.Cut(tag.String(), " ")
	if of == "SYSTEM" { // ALTER SYSTEM, which writes a file of the server's own, a standby's as well
		return
	}
	switch word {
	case "INSERT", "UPDATE", "DELETE", "MERGE", "CREATE", "ALTER", "DROP", "TRUNCATE":
		w.wanted.Store(true)
	}
}

// copied is wrote for a CopyFrom, whose tag pgx keeps.
func (w *writer) copied(err error) {
	if err == nil && !w.never {
		w.wanted.Store(true)
	}
}

// validating has pgx go on to the next host, or address, when it has found a standby and
// a writer is wanted. In front of PostgreSQL the server has just said so, for nothing;
// a pooler may repeat what was so once, hence the question.
func (p *Pool) validating(c *conn, next pgconn.ValidateConnectFunc) pgconn.ValidateConnectFunc {
	return func(ctx context.Context, pc *pgconn.PgConn) error {
		if c != nil {
			c.loggedIn()
		}
		w := &p.writer
		if w.wanted.Load() && (pc.ParameterStatus("in_hot_standby") == "on" || w.shut.Load() && pc.ParameterStatus(session.ReadOnlySetting) == "on") {
			if s, err := standingOf(ctx, pc); err != nil {
				return err
			} else if err := w.misses(s); err != nil {
				return err
			}
		}
		if next == nil {
			return nil
		}
		return next(ctx, pc)
	}
}

// admit is the last look at a new session, which may be behind a pooler that repeats what was so
// once. The server is asked how it stands if ask says that this may matter.
func (c *conn) admit(ctx context.Context, ask bool) error {
	w, pc := &c.p.writer, c.pg.PgConn()
	if ask && w.wanted.Load() {
		s, err := standingOf(ctx, pc)
		if err != nil {
			return err
		}
		if err := w.misses(s); err != nil {
			return fmt.Errorf("lmipool: %s: %w", pc.Conn().RemoteAddr(), err)
		}
	}
	readOnly := pc.ParameterStatus(session.ReadOnlySetting)
	if c.session != nil {
		readOnly = c.session.ReadOnly
	}
	w.began(readOnly)
	return nil
}

// standing says whether a server writes.
type standing uint8

const (
	standsOpen standing = iota
	standsBy            // it is a standby
	readsOnly           // its own configuration makes it read-only, for this session too
)

// askStanding asks for it. It is the configuration's doing only if pg_settings says so: what a role, a
// database, the connection string or somebody in the session has set says nothing of the server. pg_settings is
// slow to read, and is not read unless the session is read-only.
const askStanding = `select case when pg_catalog.pg_is_in_recovery() then 1
	when pg_catalog.current_setting('` + session.ReadOnlySetting + `') operator(pg_catalog.=) 'on' and exists(select from pg_catalog.pg_settings
		where name operator(pg_catalog.=) '` + session.ReadOnlySetting + `' and source operator(pg_catalog.=) any ('{configuration file,command line}')) then 2
	else 0 end`

// standingOf asks the server behind pc how it stands. Not by a simple Query, in front of which
// settings cannot travel.
func standingOf(ctx context.Context, pc *pgconn.PgConn) (standing, error) {
	r := pc.ExecParams(ctx, askStanding, nil, nil, nil, nil).Read()
	if r.Err != nil || len(r.Rows) != 1 {
		return standsOpen, r.Err
	}
	switch string(r.Rows[0][0]) {
	case "1":
		return standsBy, nil
	case "2":
		return readsOnly, nil
	}
	return standsOpen, nil
}

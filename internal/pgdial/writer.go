package pgdial

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/awshost"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/sslmode"
)

// Standing says whether a server writes.
type Standing uint8

const (
	Writes    Standing = iota
	StandsBy           // it is a standby
	ReadsOnly          // its own configuration makes it read-only, for this session too
)

// askStanding asks for it. A server is ReadsOnly only if pg_settings says that its configuration makes it so: what a role, a database, the connection
// string or a user of the session has set says nothing about the server. pg_settings is slow, and is not read unless the session is read-only.
const askStanding = `select case when pg_catalog.pg_is_in_recovery() then 1
	when pg_catalog.current_setting('` + pgerr.ReadOnlySetting + `') operator(pg_catalog.=) 'on' and exists(select from pg_catalog.pg_settings
		where name operator(pg_catalog.=) '` + pgerr.ReadOnlySetting + `' and source operator(pg_catalog.=) any ('{configuration file,command line}')) then 2
	else 0 end`

// StandingOf asks the server behind pc for its Standing. It does not use a simple Query, in front of which settings cannot travel.
func StandingOf(ctx context.Context, pc *pgconn.PgConn) (Standing, error) {
	r := pc.ExecParams(ctx, askStanding, nil, nil, nil, nil).Read()
	if r.Err != nil || len(r.Rows) != 1 {
		return Writes, r.Err
	}
	return map[string]Standing{"1": StandsBy, "2": ReadsOnly}[string(r.Rows[0][0])], nil
}

// Writer says whether the pool's server must be a writer: it was told so, or has learned it. A pool that only reads accepts any server. If a primary's
// configuration makes it read-only, that alone proves nothing, since an application may say READ WRITE in each transaction that writes. It counts
// from when a write is refused, if new sessions could write before; until a new session can write again.
type Writer struct {
	never  bool // the connection string asks for something else, or an RDS Proxy chooses the server
	wanted atomic.Bool
	open   atomic.Bool // the last new session could write
	shut   atomic.Bool // since then a write was refused because of the server's configuration
}

// NewWriter returns the Writer for a connection string, which pgx has parsed to cc. rdsProxy: it leads to an RDS Proxy.
func NewWriter(cc *pgx.ConnConfig, rdsProxy bool) *Writer {
	w := new(Writer)
	is := func(f pgconn.ValidateConnectFunc) bool { // pgx keeps target_session_attrs only as this function
		return cc.ValidateConnect != nil && reflect.ValueOf(cc.ValidateConnect).Pointer() == reflect.ValueOf(f).Pointer()
	}
	switch {
	case is(pgconn.ValidateConnectTargetSessionAttrsReadOnly), is(pgconn.ValidateConnectTargetSessionAttrsStandby),
		is(pgconn.ValidateConnectTargetSessionAttrsPreferStandby), rdsProxy: // an RDS Proxy fails over by itself
		w.never = true
		return w
	case is(pgconn.ValidateConnectTargetSessionAttrsReadWrite), is(pgconn.ValidateConnectTargetSessionAttrsPrimary):
		w.wanted.Store(true)
		return w
	}
	wanted := false
	for _, h := range sslmode.Hosts(&cc.Config) {
		if a, ok := awshost.Parse(h.Host); ok {
			w.never = w.never || a.Kind == awshost.Reader || a.Kind == awshost.Custom
			wanted = wanted || a.Kind == awshost.Writer || a.Kind == awshost.Global
		}
	}
	w.wanted.Store(wanted && !w.never)
	return w
}

// Wanted reports whether a writer is wanted.
func (w *Writer) Wanted() bool { return w.wanted.Load() }

// Concerns reports whether a write that was refused in the session of pc may be refused by the server itself, and whether that matters: the pool
// writes, or would if the server's configuration did not forbid it.
func (w *Writer) Concerns(pc *pgconn.PgConn) bool {
	return w.Wanted() || !w.never && pc.ParameterStatus(pgerr.ReadOnlySetting) == "on"
}

// Why returns why the pool's server is no writer.
func (w *Writer) Why() error {
	if w.shut.Load() {
		return pgerr.ErrReadOnlyServer
	}
	return pgerr.ErrStandby
}

// Misses returns why a server that stands as s is not what the pool wants; nil if it is.
func (w *Writer) Misses(s Standing) error {
	switch {
	case !w.Wanted():
	case s == StandsBy:
		return pgerr.ErrStandby
	case s == ReadsOnly && w.shut.Load():
		return pgerr.ErrReadOnlyServer
	}
	return nil
}

// Refused notes that a server that stands as s has refused a write. It reports false if the connection is useless for writes.
func (w *Writer) Refused(s Standing) bool {
	if s == ReadsOnly && w.Wanted() && w.open.Load() {
		w.shut.Store(true)
	}
	return s != ReadsOnly && w.Misses(s) == nil
}

// Wrote notes what a command has done: if it wrote, the pool wants a writer from now on.
func (w *Writer) Wrote(tag pgconn.CommandTag) {
	if w.never || w.Wanted() {
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

// Copied is Wrote for a CopyFrom, whose tag pgx keeps.
func (w *Writer) Copied(err error) {
	if err == nil && !w.never {
		w.wanted.Store(true)
	}
}

// Validate makes pgx go on to the next host, or address, when it has found a standby and a writer is wanted. PostgreSQL has just reported this in the
// login, at no cost; but a pooler may report what is no longer so, so the server is asked.
func (w *Writer) Validate(cc *pgx.ConnConfig) {
	next := cc.ValidateConnect
	cc.ValidateConnect = func(ctx context.Context, pc *pgconn.PgConn) error {
		if w.Wanted() && (pc.ParameterStatus("in_hot_standby") == "on" || w.shut.Load() && pc.ParameterStatus(pgerr.ReadOnlySetting) == "on") {
			s, err := StandingOf(ctx, pc)
			if err = cmp.Or(err, w.Misses(s)); err != nil {
				return err
			}
		}
		if next == nil {
			return nil
		}
		return next(ctx, pc)
	}
}

// Admit checks a new session, which may be behind a pooler that reports what is no longer so. With ask, the server is asked for its Standing if a writer
// is wanted. readOnly is the session's default_transaction_read_only; "": the value that the server has reported counts.
func (w *Writer) Admit(ctx context.Context, pc *pgconn.PgConn, ask bool, readOnly string) error {
	if ask && w.Wanted() {
		s, err := StandingOf(ctx, pc)
		if err != nil {
			return err
		}
		if err = w.Misses(s); err != nil {
			return fmt.Errorf("lmipool: %s: %w", pc.Conn().RemoteAddr(), err)
		}
	}
	if cmp.Or(readOnly, pc.ParameterStatus(pgerr.ReadOnlySetting)) == "off" { // writing is its default
		w.open.Store(true)
		w.shut.Store(false)
	}
	return nil
}

package pgdial

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/awshost"
	"github.com/lmipool/lmipool/internal/pgerr"
)

// Standing says whether a server accepts writes.
type Standing uint8

const (
	Writes    Standing = iota
	StandsBy           // the server is a standby
	ReadsOnly          // the server's own configuration makes it read-only, for this session too
)

// askStanding asks a server for its Standing. The answer is ReadsOnly only if pg_settings says that the server's configuration makes it read-only: a
// setting of a role, a database, the connection string or the session says nothing about the server. pg_settings is slow, and read only then.
const askStanding = `select case when pg_catalog.pg_is_in_recovery() then 1
	when pg_catalog.current_setting('` + pgerr.ReadOnlySetting + `') operator(pg_catalog.=) 'on' and exists(select from pg_catalog.pg_settings
		where name operator(pg_catalog.=) '` + pgerr.ReadOnlySetting + `' and source operator(pg_catalog.=) any ('{configuration file,command line}')) then 2
	else 0 end`

// StandingOf asks the server of pc for its Standing. It does not use a simple Query, since the settings of With cannot travel in front of one.
func StandingOf(ctx context.Context, pc *pgconn.PgConn) (Standing, error) {
	r := pc.ExecParams(ctx, askStanding, nil, nil, nil, nil).Read()
	if r.Err != nil || len(r.Rows) != 1 {
		return Writes, r.Err
	}
	return map[string]Standing{"1": StandsBy, "2": ReadsOnly}[string(r.Rows[0][0])], nil
}

// Writer says whether the pool's server must be a writer: target_session_attrs or the name of an Aurora writer says so, or a write has succeeded. Then a
// dial that finds a standby fails. A pool that only reads accepts any server. A primary that its configuration makes read-only, as in a blue/green
// switch-over, is not refused for that alone, since an application may begin each transaction that writes with READ WRITE. It is refused from the first
// write that it refuses, if new sessions could write before, until a new session can write again.
type Writer struct {
	never  bool // is set if the connection string asks for another kind of server, or an RDS Proxy chooses the server
	wanted atomic.Bool
	open   atomic.Bool // is set when a new session can write
	shut   atomic.Bool // is set if a write was refused since then because of the server's configuration
}

// NewWriter returns the Writer for cc. rdsProxy says that cc leads to an RDS Proxy.
func NewWriter(cc *pgx.ConnConfig, rdsProxy bool) *Writer {
	w := new(Writer)
	is := func(f pgconn.ValidateConnectFunc) bool { return SameFunc(cc.ValidateConnect, f) } // pgx keeps target_session_attrs only as this function
	switch {
	case is(pgconn.ValidateConnectTargetSessionAttrsReadOnly), is(pgconn.ValidateConnectTargetSessionAttrsStandby),
		is(pgconn.ValidateConnectTargetSessionAttrsPreferStandby), rdsProxy: // an RDS Proxy fails over by itself
		w.never = true
	case is(pgconn.ValidateConnectTargetSessionAttrsReadWrite), is(pgconn.ValidateConnectTargetSessionAttrsPrimary):
		w.wanted.Store(true)
	default:
		w.never = InAWS(cc, awshost.Reader, awshost.Custom)
		w.wanted.Store(!w.never && InAWS(cc, awshost.Writer, awshost.Global))
	}
	return w
}

// Wanted reports whether a writer is wanted.
func (w *Writer) Wanted() bool { return w.wanted.Load() }

// Concerns is called when a write was refused in the session of pc. It reports whether the pool has to ask the server for its Standing.
func (w *Writer) Concerns(pc *pgconn.PgConn) bool {
	return w.Wanted() || !w.never && pc.ParameterStatus(pgerr.ReadOnlySetting) == "on"
}

// Why returns the error that says why the pool's server is no writer.
func (w *Writer) Why() error {
	if w.shut.Load() {
		return pgerr.ErrReadOnlyServer
	}
	return pgerr.ErrStandby
}

// Misses returns an error if the pool wants a writer and a server with Standing s is not one, or else nil.
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

// Refused notes that a server with Standing s has refused a write. It returns false if the connection is useless for writes.
func (w *Writer) Refused(s Standing) bool {
	if s == ReadsOnly && w.Wanted() && w.open.Load() {
		w.shut.Store(true)
	}
	return s != ReadsOnly && w.Misses(s) == nil
}

// Wrote notes that a command has succeeded. If its tag is that of a write, the pool wants a writer from now on.
func (w *Writer) Wrote(tag pgconn.CommandTag) {
	if w.never || w.Wanted() {
		return
	}
	word, of, _ := strings.Cut(tag.String(), " ")
	if of == "SYSTEM" { // ALTER SYSTEM writes the server's own file, which a standby does too
		return
	}
	switch word {
	case "INSERT", "UPDATE", "DELETE", "MERGE", "CREATE", "ALTER", "DROP", "TRUNCATE":
		w.wanted.Store(true)
	}
}

// Copied is Wrote for a CopyFrom, which has no tag.
func (w *Writer) Copied(err error) {
	if err == nil && !w.never {
		w.wanted.Store(true)
	}
}

// Validate makes pgx go on to the next host, or address, if a writer is wanted and it has found a standby. PostgreSQL reports during the login,
// without a round trip, whether it is one. If it says so, the server is asked once more, because a pooler may report an old value.
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

// Admit checks a new session. If ask is true and a writer is wanted, it asks the server for its Standing, and returns the error of Misses. readOnly is the
// session's default_transaction_read_only, or "" if the value that the server has reported counts.
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
	if cmp.Or(readOnly, pc.ParameterStatus(pgerr.ReadOnlySetting)) == "off" { // new transactions can write
		w.open.Store(true)
		w.shut.Store(false)
	}
	return nil
}

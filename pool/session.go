package pool

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/lmipool/lmipool/internal/sqltext"
)

// session is what a connection's session was like after AfterConnect: what a reset
// leads back to, and what it cannot.
type session struct {
	readOnly, statementTimeout, lockTimeout string // as AfterConnect has left them

	restore  string   // what AfterConnect has set, as SQL; RESET ALL does not know it
	prepared []string // statements that AfterConnect has prepared
	role     string   // of AfterConnect's, or of the connection string
	lasting  bool     // AfterConnect listens, holds a lock, or has a temporary table or a cursor: no reset keeps that
	plpgsql  bool     // DO can be used
	standby  bool     // the server is one
	backend  backend  // that has told all this
	reported [len(reported)]string
}

// reported are settings that the server reports with every change, some from a later
// version on.
var reported = [...]string{
	"application_name", "client_encoding", "DateStyle", "default_transaction_read_only", "IntervalStyle", "is_superuser",
	"search_path", "session_authorization", "standard_conforming_strings", "TimeZone",
}

// snapshot is what the server has reported.
func snapshot(pc *pgconn.PgConn) (s [len(reported)]string) {
	for i, name := range reported {
		s[i] = pc.ParameterStatus(name)
	}
	return s
}

// readSession reads what the session is like. said is what AfterConnect has sent; nil if
// there is none: then nothing can have been set that RESET ALL does not know. With own the
// session is ours, and a witness is left in it.
func readSession(ctx context.Context, c *pgx.Conn, said []byte, own bool) (*session, error) {
	pc := c.PgConn()
	const read = `select pg_catalog.current_setting('default_transaction_read_only'), pg_catalog.current_setting('statement_timeout'),
		pg_catalog.current_setting('lock_timeout'), pg_catalog.current_setting('role'), session_user,
		exists(select from pg_catalog.pg_language where lanname operator(pg_catalog.=) 'plpgsql'), pg_catalog.pg_is_in_recovery(), ` + backendSQL
	// A setting with a dot in its name that no extension has defined is in no list of the
	// server's; but AfterConnect must have said its name.
	const left = `select coalesce((select pg_catalog.string_agg(pg_catalog.format('pg_catalog.set_config(%L, %L, false)', n, v), ', ')
			from (select name, setting from pg_catalog.pg_settings where source operator(pg_catalog.=) 'session'
				and name operator(pg_catalog.<>) all ('{role,session_authorization,transaction_isolation,transaction_read_only,transaction_deferrable}')
				union select n, pg_catalog.current_setting(n, true) from unnest($1::pg_catalog.text[]) n
				where pg_catalog.current_setting(n, true) operator(pg_catalog.<>) '') _(n, v)), ''),
		exists(select from pg_catalog.pg_listening_channels()) or
		exists(select from pg_catalog.pg_locks where locktype operator(pg_catalog.=) 'advisory' and pid operator(pg_catalog.=) pg_catalog.pg_backend_pid()) or
		exists(select from pg_catalog.pg_class where relnamespace operator(pg_catalog.=) pg_catalog.pg_my_temp_schema()) or
		exists(select from pg_catalog.pg_cursors where is_holdable),
		(select pg_catalog.string_agg(name, chr(10)) from pg_catalog.pg_prepared_statements
			where name operator(pg_catalog.!~) '^(stmtcache_|lmipool_)')`
	pl := pc.StartPipeline(ctx)
	if own {
		pl.SendPrepare(witness, "select", nil)
	}
	pl.SendQueryParams(read, nil, nil, nil, []int16{0, 0, 0, 0, 0, 0, 0, pgx.BinaryFormatCode, pgx.BinaryFormatCode})
	if said != nil {
		pl.SendQueryParams(left, [][]byte{textArray(customSettings(said))}, nil, nil, nil)
	}
	err := pl.Sync()
	if own && err == nil {
		_, err = pl.GetResults()
	}
	if err != nil {
		_ = pl.Close() // has no more to say
		return nil, err
	}
	questions := 1
	if said != nil {
		questions = 2
	}
	var rows [][][]byte
	for range questions {
		v, err := pl.GetResults()
		rr, ok := v.(*pgconn.ResultReader)
		if !ok {
			return nil, cmp.Or(err, pl.Close(), errNoAnswer)
		}
		r := rr.Read()
		if r.Err != nil || len(r.Rows) != 1 {
			return nil, cmp.Or(r.Err, pl.Close(), errNoAnswer)
		}
		rows = append(rows, r.Rows[0])
	}
	if err := pl.Close(); err != nil {
		return nil, err
	}
	row := rows[0]
	s := &session{
		readOnly: string(row[0]), statementTimeout: string(row[1]), lockTimeout: string(row[2]), role: string(row[3]),
		plpgsql: string(row[5]) == "t", standby: string(row[6]) == "t", reported: snapshot(pc),
	}
	if s.backend, err = backendOf(row[7:]); err != nil || said == nil {
		return s, err
	}
	answer := rows[1]
	set := string(answer[0])
	s.lasting = string(answer[1]) == "t"
	if names := string(answer[2]); names != "" {
		s.prepared = strings.Split(names, "\n")
	}
	if set != "" {
		s.restore = "select " + set + "; "
	}
	if lower := bytes.ToLower(said); bytes.Contains(lower, []byte("authorization")) {
		s.restore += "set session authorization " + quoteName(string(row[4])) + "; "
	}
	if s.role != "none" {
		s.restore += "set role " + quoteName(s.role) + "; "
	}
	return s, nil
}

var errNoAnswer = errors.New("lmipool: no answer to what the session is like")

// witness is a prepared statement whose absence tells that somebody has deallocated all,
// also those that pgx relies on.
const witness = "lmipool_witness"

// leaveWitness has the witness prepared in front of the next flight.
func (w *wire) leaveWitness() {
	b, _ := (&pgproto3.Parse{Name: witness, Query: "select"}).Encode(nil)
	w.before(prefix{msgs: append(b, syncMessage...), whole: true})
}

// customSettings are the names in what was said that may be of settings.
func customSettings(said []byte) (names []string) {
	for _, n := range customSetting.FindAll(said, -1) {
		names = append(names, string(n))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

var customSetting = regexp.MustCompile(`[A-Za-z_][A-Za-z0-9_$]*(?:\.[A-Za-z_][A-Za-z0-9_$]*)+`)

func quoteName(name string) string { return pgx.Identifier{name}.Sanitize() }

var errNoReset = errors.New("nothing takes away what its session has")

// readable reports whether the server reads what a reset says as it was meant: the encoding
// may be another than that of what AfterConnect has set.
func (s *session) readable(pc *pgconn.PgConn) bool {
	return pc.ParameterStatus("client_encoding") == s.reported[slices.Index(reported[:], "client_encoding")] ||
		!strings.ContainsFunc(s.restore+strings.Join(s.prepared, ""), func(r rune) bool { return r >= utf8.RuneSelf })
}

// failClosed has every error end the session. A statement_timeout of a millisecond that
// somebody has left can be over before that is said, on a busy machine: then what comes
// behind would run in a session that was not reset. So it is said once in a Query of its
// own and once more in the reset, before which the timeout is taken off for the rest.
const failClosed = "set exit_on_error = on"

// reset is what takes away what trace says, as one simple Query. It is nothing that
// settings, search_path or a planted function could change. If a part of it fails, the
// session ends (exit_on_error): so what travels behind it never runs in a session that
// was not reset. Its transaction is not one that could have to wait for others
// (DEFERRABLE), or that a standby has not got.
func (s *session) reset(trace sqltext.Trace, pc *pgconn.PgConn) (string, error) {
	switch {
	case trace == sqltext.SequenceTrace:
		return failClosed + "; discard sequences; reset exit_on_error", nil
	case trace >= sqltext.LastingTrace, s.lasting, trace == sqltext.AnyTrace && !s.plpgsql, !s.readable(pc):
		return "", errNoReset
	}
	var b strings.Builder
	b.WriteString(failClosed + "; set statement_timeout = 0; set transaction isolation level read committed; set session authorization default; reset role; reset all; " + failClosed + "; close all; ")
	if pc.ParameterStatus("in_hot_standby") != "on" { // it is refused there, and so was LISTEN
		b.WriteString("unlisten *; ")
	}
	b.WriteString("select pg_catalog.pg_advisory_unlock_all(); discard temp; discard sequences; ")
	if trace == sqltext.AnyTrace {
		b.WriteString("do $$ declare n pg_catalog.text; begin for n in select name from pg_catalog.pg_prepared_statement() where from_sql")
		for _, p := range s.prepared {
			b.WriteString(" and name operator(pg_catalog.<>) '" + strings.ReplaceAll(p, "'", "''") + "'")
		}
		b.WriteString(" loop execute pg_catalog.format('deallocate %I', n); end loop; end $$; execute " + witness + "; ")
	}
	b.WriteString(s.restore)
	b.WriteString("reset exit_on_error")
	return b.String(), nil
}

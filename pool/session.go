package pool

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/lmipool/lmipool/internal/pgwire"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// session is what a connection's session was like after AfterConnect: what a reset
// leads back to, and what it cannot.
type session struct {
	readOnly, statementTimeout, lockTimeout string   // as AfterConnect has left them
	set                                     []string // which of them AfterConnect has set

	restore     string            // what AfterConnect has set, as SQL; RESET ALL does not know it
	prepared    map[string]string // the texts of statements that AfterConnect has prepared, by name; "": it was done in SQL
	role        string            // of AfterConnect's, or of the connection string
	meaning     string            // all that decides what a text means: see askMeaning
	lasting     bool              // AfterConnect listens, holds a lock, has something temporary or a cursor, or what it set is not certain: no reset keeps that
	draws       bool              // it may have left values of sequences, which go with those of others
	exits       string            // exit_on_error, if AfterConnect has set it
	deallocates bool              // DO can be used
	database    string            // which one it is: with meaning, what decides what a name means
	standby     bool              // the server is one
	backend     backend           // that has told all this
	reported    [len(reported)]string
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

// readSession reads what the session is like. heard is what hooks have sent; nil if there
// are none: then nothing can have been set that RESET ALL does not know. With own the
// session is ours, and a witness is left in it.
func readSession(ctx context.Context, c *pgx.Conn, heard *said, own bool) (*session, error) {
	pc := c.PgConn()
	const read = `select pg_catalog.current_setting('default_transaction_read_only'), pg_catalog.current_setting('statement_timeout'),
		pg_catalog.current_setting('lock_timeout'), pg_catalog.current_setting('role'), session_user,
		exists(select from pg_catalog.pg_language where lanname operator(pg_catalog.=) 'plpgsql' and pg_catalog.has_language_privilege(oid, 'usage')),
		pg_catalog.pg_is_in_recovery(), ` + backendSQL + `,
		(select pg_catalog.concat_ws('|', d.datname, d.oid, d.xmin) from pg_catalog.pg_database d where d.datname operator(pg_catalog.=) pg_catalog.current_database()),
		` + newMeaning
	// pg_depend: what is in the schema of temporary objects, functions and types too. The schema itself stays.
	const left = `select coalesce((select pg_catalog.string_agg(pg_catalog.format('pg_catalog.set_config(%L, %L, false)', n, v), ', ')
			from (select name, setting from pg_catalog.pg_settings where source operator(pg_catalog.=) 'session'
				and name operator(pg_catalog.<>) all ('{role,session_authorization,transaction_isolation,transaction_read_only,transaction_deferrable,exit_on_error}')
				union select n, pg_catalog.current_setting(n, true) from unnest($1::pg_catalog.text[]) n
				where pg_catalog.current_setting(n, true) operator(pg_catalog.<>) '') _(n, v)), ''),
		exists(select from pg_catalog.pg_listening_channels()) or
		exists(select from pg_catalog.pg_locks where locktype operator(pg_catalog.=) 'advisory' and pid operator(pg_catalog.=) pg_catalog.pg_backend_pid()) or
		exists(select from pg_catalog.pg_depend where refclassid operator(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass
			and refobjid operator(pg_catalog.=) pg_catalog.pg_my_temp_schema()) or
		exists(select from pg_catalog.pg_cursors where is_holdable),
		(select pg_catalog.json_object_agg(name, case when from_sql then '' else statement end) from pg_catalog.pg_prepared_statements
			where from_sql or name operator(pg_catalog.!~) '^(stmtcache_|lmipool_)'),
		(select setting from pg_catalog.pg_settings where name operator(pg_catalog.=) 'exit_on_error' and source operator(pg_catalog.=) 'session'),
		(select pg_catalog.string_agg(name, ',') from pg_catalog.pg_settings where source operator(pg_catalog.=) 'session'
			and name operator(pg_catalog.=) any ('{default_transaction_read_only,statement_timeout,lock_timeout}'))`
	pl := pc.StartPipeline(ctx)
	if own {
		pl.SendPrepare(witness, "select", nil)
	}
	formats := make([]int16, 10+meaningCount)
	formats[7], formats[8] = pgx.BinaryFormatCode, pgx.BinaryFormatCode
	pl.SendQueryParams(read, nil, nil, nil, formats)
	if heard != nil {
		pl.SendQueryParams(left, [][]byte{sqltext.TextArray(heard.names)}, nil, nil, nil)
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
	if heard != nil {
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
		deallocates: string(row[5]) == "t", standby: string(row[6]) == "t", reported: snapshot(pc),
		database: string(row[9]),
	}
	if s.meaning, err = meaningOfNew(ctx, pc, row[10:]); err != nil {
		return nil, err
	}
	if s.backend, err = backendOf(row[7:9]); err != nil || heard == nil {
		return s, err
	}
	s.lasting = heard.unsure != ""
	if s.draws = heard.draws; s.draws && !s.lasting { // most INSERTs draw from no sequence
		r := pc.ExecParams(ctx, "select pg_catalog.lastval()", nil, nil, nil, nil).Read()
		var pg *pgconn.PgError
		if errors.As(r.Err, &pg) && pg.Code == "55000" { // object_not_in_prerequisite_state: nothing was drawn
			s.draws = false
		} else if r.Err != nil {
			return nil, r.Err
		}
	}
	answer := rows[1]
	set := string(answer[0])
	s.lasting = s.lasting || string(answer[1]) == "t"
	if answer[2] != nil {
		if err := json.Unmarshal(answer[2], &s.prepared); err != nil {
			return nil, fmt.Errorf("lmipool: what AfterConnect has prepared: %w", err)
		}
	}
	s.exits, s.set = string(answer[3]), strings.Split(string(answer[4]), ",")
	if set != "" {
		s.restore = "select " + set + "; "
	}
	if user := string(row[4]); user != c.Config().User {
		s.restore += "set session authorization " + quoteName(user) + "; "
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

// leaveWitness has the witness prepared.
func leaveWitness() pgwire.Prologue {
	b, _ := (&pgproto3.Parse{Name: witness, Query: "select"}).Encode(nil)
	b, _ = (&pgproto3.Sync{}).Encode(b)
	return pgwire.Prologue{Messages: b, Simple: true}
}

func quoteName(name string) string { return pgx.Identifier{name}.Sanitize() }

var errNoReset = errors.New("nothing takes away what its session has")

// readable reports whether the server reads what a reset says as it was meant: the encoding
// may be another than that of what AfterConnect has set.
func (s *session) readable(pc *pgconn.PgConn) bool {
	return pc.ParameterStatus("client_encoding") == s.reported[slices.Index(reported[:], "client_encoding")] ||
		!strings.ContainsFunc(s.restore+fmt.Sprint(s.prepared), func(r rune) bool { return r >= utf8.RuneSelf })
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
func (s *session) reset(trace sqltext.Trace, plans bool, pc *pgconn.PgConn) (string, error) {
	if trace >= sqltext.LastingTrace || s.lasting || !s.readable(pc) {
		return "", errNoReset
	}
	var b strings.Builder
	b.WriteString(failClosed + "; set statement_timeout = 0; set transaction isolation level read committed; set session authorization default; reset role; reset all; " + failClosed + "; close all; ")
	if pc.ParameterStatus("in_hot_standby") != "on" { // it is refused there, and so was LISTEN
		b.WriteString("unlisten *; ")
	}
	// A seed that somebody has set, in whatever way, would tell him what the next user calls random.
	b.WriteString("select pg_catalog.pg_advisory_unlock_all(); discard temp; set seed = " + strconv.FormatFloat(2*rand.Float64()-1, 'f', -1, 64) + "; ")
	if plans { // as they were made under other settings: see meaning.go
		b.WriteString("discard plans; ")
	}
	b.WriteString(s.restore)
	if trace == sqltext.AnyTrace { // in the role that was asked whether it may use PL/pgSQL
		var do strings.Builder
		do.WriteString("declare n pg_catalog.text; begin for n in select name from pg_catalog.pg_prepared_statement() where from_sql")
		there := make([]string, 0, len(s.prepared)) // what AfterConnect has prepared, as it was
		for name, text := range s.prepared {
			is := "name operator(pg_catalog.=) " + quoteText(name)
			do.WriteString(" and not " + is)
			if text != "" {
				is += " and statement operator(pg_catalog.=) " + quoteText(text)
			}
			there = append(there, is)
		}
		do.WriteString(" loop execute pg_catalog.format('deallocate %I', n); end loop;")
		if len(there) > 0 {
			fmt.Fprintf(&do, " if (select pg_catalog.count(*) from pg_catalog.pg_prepared_statement() where %s) operator(pg_catalog.<>) %d then raise 'a statement of AfterConnect is gone'; end if;",
				strings.Join(there, " or "), len(there))
		}
		do.WriteString(" end")
		b.WriteString("do " + quoteText(do.String()) + "; execute " + witness + "; ")
	}
	if s.exits != "" {
		return b.String() + "set exit_on_error = " + s.exits, nil
	}
	return b.String() + "reset exit_on_error", nil
}

// quoteText is s as a string that means the same whatever standard_conforming_strings is.
func quoteText(s string) string {
	return "E'" + strings.NewReplacer("'", "''", `\`, `\\`).Replace(s) + "'"
}

// differs reports whether the server has reported settings that are not the session's own. It compares
// them only if some were reported since they were last right.
func (c *conn) differs() bool {
	n := c.wire.Reports()
	if n == c.reports {
		return false
	}
	if snapshot(c.pg.PgConn()) != c.session.reported {
		return true
	}
	c.reports = n
	return false
}

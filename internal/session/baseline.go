package session

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// Baseline is the state of a connection's session after AfterConnect, which a reset restores. It never changes.
type Baseline struct {
	ReadOnly    string            // the value of default_transaction_read_only
	Meaning     string            // the answer to AskMeaning
	Database    string            // identifies the database; together with Meaning it decides the meaning of a name
	Prepared    map[string]string // the texts of the statements that AfterConnect has prepared, by name; "" for a PREPARE in SQL
	Lasting     bool              // AfterConnect has left, or may have left, what a reset cannot keep: a LISTEN, a lock, a temporary table, a cursor
	Draws       bool              // AfterConnect may have left values of sequences, which a reset discards
	Deallocates bool              // the session may use DO
	Dialers     bool              // the database has functions of dblink: what they open lasts as long as the session
	Standby     bool              // the server is a standby
	Backend     Backend           // the server process that has answered

	statementTimeout, lockTimeout string
	set                           []string // those of the two timeouts and default_transaction_read_only that AfterConnect has set
	restore                       []string // SQL that sets again what AfterConnect has set and RESET ALL takes away
	exits                         string   // the value of exit_on_error if AfterConnect has set it, else ""
	name                          string   // the application_name
	reported                      [len(reported)]string
}

// reported are the settings, beside application_name, whose changes the server reports by itself. PostgreSQL reports some of them only in later versions.
var reported = [...]string{
	"client_encoding", "DateStyle", pgerr.ReadOnlySetting, "IntervalStyle", "is_superuser",
	"search_path", "session_authorization", "standard_conforming_strings", "TimeZone",
}

func snapshot(pc *pgconn.PgConn) (s [len(reported)]string) {
	for i, name := range reported {
		s[i] = pc.ParameterStatus(name)
	}
	return s
}

// witness is the name of a statement that is prepared in each session. If it is missing, somebody has deallocated all statements, pgx's too.
const witness = "lmipool_witness"

// Read reads the state of c's session. heard is what the hooks have sent; if it is nil there are no hooks, so RESET ALL restores all settings. If own is
// true, the session belongs to c alone, and Read prepares the witness in it.
func Read(ctx context.Context, c *pgx.Conn, heard *Heard, own bool) (*Baseline, error) {
	pc := c.PgConn()
	const read = `select pg_catalog.current_setting('` + pgerr.ReadOnlySetting + `'), pg_catalog.current_setting('statement_timeout'),
		pg_catalog.current_setting('lock_timeout'), pg_catalog.current_setting('role'), session_user,
		exists(select from pg_catalog.pg_language where lanname operator(pg_catalog.=) 'plpgsql' and pg_catalog.has_language_privilege(oid, 'usage')),
		pg_catalog.pg_is_in_recovery(), ` + backendSQL + `,
		(select pg_catalog.concat_ws('|', d.datname, d.oid, d.xmin) from pg_catalog.pg_database d where d.datname operator(pg_catalog.=) pg_catalog.current_database()),
		` + newMeaning + `, exists(select from pg_catalog.pg_proc where proname operator(pg_catalog.=) 'dblink_connect')`
	// pg_depend has all that is in the temporary schema, functions and types too. The schema itself stays when it is empty.
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
	formats := make([]int16, 10+meaningCount+1)
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
		_ = pl.Close() // Close would only return err again
		return nil, err
	}
	var rows [2][][]byte
	for i := 0; i == 0 || i == 1 && heard != nil; i++ {
		var r pgconn.Result
		v, err := pl.GetResults()
		if rr, ok := v.(*pgconn.ResultReader); ok {
			r = *rr.Read()
		}
		if len(r.Rows) != 1 || r.Err != nil {
			return nil, cmp.Or(err, r.Err, pl.Close(), errors.New("lmipool: no answer to what the session is like"))
		}
		rows[i] = r.Rows[0]
	}
	if err := pl.Close(); err != nil {
		return nil, err
	}
	row, answer := rows[0], rows[1]
	b := &Baseline{
		ReadOnly: string(row[0]), statementTimeout: string(row[1]), lockTimeout: string(row[2]),
		Deallocates: string(row[5]) == "t", Standby: string(row[6]) == "t", name: pc.ParameterStatus("application_name"), reported: snapshot(pc),
		Database: string(row[9]), Dialers: string(row[10+meaningCount]) == "t",
	}
	if meaning := row[10 : 10+meaningCount]; string(meaning[meaningTemp]) == "0" {
		meaning[meaningTemp] = nil // AskMeaning has NULL in this column if there is no temporary schema
		b.Meaning = meaningOf(meaning)
	} else if b.Meaning, err = meaningNow(ctx, pc); err != nil {
		return nil, err
	}
	if b.Backend, err = backendOf(row[7:9]); err != nil || heard == nil {
		return b, err
	}
	b.Lasting = heard.Unsure != ""
	if b.Draws = heard.draws; b.Draws && !b.Lasting { // the server is asked, since most INSERTs draw from no sequence
		r := pc.ExecParams(ctx, "select pg_catalog.lastval()", nil, nil, nil, nil).Read()
		var pg *pgconn.PgError
		if errors.As(r.Err, &pg) && pg.Code == "55000" { // object_not_in_prerequisite_state: nothing was drawn
			b.Draws = false
		} else if r.Err != nil {
			return nil, r.Err
		}
	}
	b.Lasting = b.Lasting || string(answer[1]) == "t"
	if answer[2] != nil {
		if err := json.Unmarshal(answer[2], &b.Prepared); err != nil {
			return nil, fmt.Errorf("lmipool: what AfterConnect has prepared: %w", err)
		}
	}
	b.exits, b.set = string(answer[3]), strings.Split(string(answer[4]), ",")
	if set := string(answer[0]); set != "" {
		b.restore = append(b.restore, "select "+set)
	}
	if user := string(row[4]); user != c.Config().User {
		b.restore = append(b.restore, "set session authorization "+quoteName(user))
	}
	if role := string(row[3]); role != "none" {
		b.restore = append(b.restore, "set role "+quoteName(role))
	}
	return b, nil
}

// Name returns the application_name.
func (b *Baseline) Name() string { return b.name }

// Differs reports whether a setting that the server reports has another value than in b. An application_name that is label counts as b's.
func (b *Baseline) Differs(pc *pgconn.PgConn, label string) bool {
	name := pc.ParameterStatus("application_name")
	return name != b.name && name != label || snapshot(pc) != b.reported
}

// Same asks the server, in one round trip, whether all that decides the meaning of a text (AskMeaning) is as in b.
func (b *Baseline) Same(ctx context.Context, pc *pgconn.PgConn) (bool, error) {
	meaning, err := meaningNow(ctx, pc)
	return meaning == b.Meaning, err
}

func quoteName(name string) string { return pgx.Identifier{name}.Sanitize() }

// Backend is one server process.
type Backend struct {
	PID   uint32
	since int64 // the time when the server was started: two servers behind one pooler may have processes with the same number
}

const backendSQL = `pg_catalog.pg_backend_pid(), pg_catalog.pg_postmaster_start_time()`

// WhoAnswers asks which process runs what pc sends.
func WhoAnswers(ctx context.Context, pc *pgconn.PgConn) (Backend, error) {
	r := pc.ExecParams(ctx, "select "+backendSQL, nil, nil, nil, []int16{pgx.BinaryFormatCode}).Read()
	if r.Err != nil {
		return Backend{}, r.Err
	}
	return backendOf(r.Rows[0])
}

// backendOf decodes the columns of backendSQL, in binary: that format depends on no setting.
func backendOf(row [][]byte) (b Backend, err error) {
	if len(row) != 2 || len(row[0]) != 4 || len(row[1]) != 8 {
		return b, errors.New("lmipool: no answer to pg_backend_pid()")
	}
	return Backend{binary.BigEndian.Uint32(row[0]), int64(binary.BigEndian.Uint64(row[1]))}, nil
}

func meaningOf(row [][]byte) string { return string(bytes.Join(row, []byte{0})) }

func meaningNow(ctx context.Context, pc *pgconn.PgConn) (string, error) {
	r := pc.ExecParams(ctx, AskMeaning, nil, nil, nil, nil).Read()
	if r.Err != nil {
		return "", r.Err
	}
	return meaningOf(r.Rows[0]), nil
}

// AskMeaning reads all that decides the meaning of a statement's text, or of a constant in it that is computed when the statement is planned.
// TestWhatTheServerIsAskedIsAllThatDecidesMeaning looks for more. Only the objects in the temporary schema are compared: the schema stays in the session
// once it was created, and an empty one hides nothing.
const AskMeaning = `select current_user, session_user,
	pg_catalog.array_remove(pg_catalog.current_schemas(true)::pg_catalog.text[], (select nspname::pg_catalog.text from pg_catalog.pg_namespace where oid operator(pg_catalog.=) pg_catalog.pg_my_temp_schema())),
	(select pg_catalog.string_agg(pg_catalog.concat_ws('.', classid, objid), ',' order by classid, objid) from pg_catalog.pg_depend
		where refclassid operator(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass and refobjid operator(pg_catalog.=) pg_catalog.pg_my_temp_schema()
		and refobjid operator(pg_catalog.<>) 0),
	` + meaningSettings

// newMeaning has the columns of AskMeaning for a session without a temporary schema, such as a new one. It is quicker: in a new session, planning the
// questions about that schema takes as long as planning all others. If its column meaningTemp is not '0' there is such a schema, and AskMeaning is asked.
const newMeaning = `current_user, session_user, pg_catalog.current_schemas(true)::pg_catalog.text[], pg_catalog.pg_my_temp_schema(),
	` + meaningSettings

// meaningTemp is the number of the column for the temporary schema; meaningCount is the number of columns of newMeaning and of AskMeaning.
const meaningTemp, meaningCount = 3, 26

const meaningSettings = `pg_catalog.current_setting('search_path'), pg_catalog.current_setting('TimeZone'), pg_catalog.current_setting('timezone_abbreviations'),
	pg_catalog.current_setting('DateStyle'), pg_catalog.current_setting('IntervalStyle'), pg_catalog.current_setting('array_nulls'),
	pg_catalog.current_setting('transform_null_equals'), pg_catalog.current_setting('standard_conforming_strings'),
	pg_catalog.current_setting('backslash_quote'), pg_catalog.current_setting('client_encoding'), pg_catalog.current_setting('xmloption'),
	pg_catalog.current_setting('xmlbinary'), pg_catalog.current_setting('lc_monetary'), pg_catalog.current_setting('lc_numeric'),
	pg_catalog.current_setting('lc_time'), pg_catalog.current_setting('default_text_search_config'), pg_catalog.current_setting('row_security'),
	pg_catalog.current_setting('session_replication_role'), pg_catalog.current_setting('restrict_nonsystem_relation_kind', true),
	pg_catalog.current_setting('extra_float_digits'), pg_catalog.current_setting('quote_all_identifiers'),
	pg_catalog.current_setting('bytea_output')`

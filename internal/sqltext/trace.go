package sqltext

import (
	"strings"
)

// Trace is what a statement may leave behind in its session. The values are in order, from the least to the most.
type Trace uint8

const (
	// NoTrace means that it leaves nothing.
	NoTrace Trace = iota
	// SequenceTrace means that it may leave what currval and lastval return.
	SequenceTrace
	// SessionTrace means settings, the seed of random, cursors, advisory locks, channels listened to, and temporary tables.
	SessionTrace
	// AnyTrace means all of these, statements prepared in SQL, and whatever else the text does not show.
	AnyTrace
	// PreparedTrace means the same as AnyTrace, and that it certainly prepares statements in SQL or deallocates them.
	PreparedTrace
	// LastingTrace means what lasts as long as the session, such as loaded libraries and connections of dblink. No reset takes that away.
	LastingTrace
)

// Session returns what a statement leaves behind in its session, judged by its text alone. If asks is true, the statement is a query or a change of
// data. Then trace is what the functions that it names leave, judged by their names; other functions to which it leads may leave more.
func Session(sql string) (trace Trace, asks bool, functions []Function) {
	ts, refused := lex(sql)
	if refused != "" {
		return AnyTrace, false, nil
	}
	if one, refused := oneStatement(ts); refused == "" {
		return session(one)
	}
	trace = AnyTrace
	for _, one := range ts.statements() {
		t, _, _ := session(one)
		trace = max(trace, t)
	}
	return trace, false, nil
}

// session returns what one statement leaves behind in its session, like Session.
func session(ts tokens) (trace Trace, asks bool, functions []Function) {
	if len(ts) == 0 {
		return NoTrace, false, nil
	}
	if lasts(ts) || compiles(ts) {
		return LastingTrace, false, nil
	}
	if !ts.first().word(Plainest...) {
		return command(ts), false, nil
	}
	for i, t := range ts {
		switch {
		case t.word("into") && !ts.at(i-1).word("insert", "merge"), // creates a table, which may be temporary
			t.word("truncate", "copy", "call", "execute", "create", "alter", "drop", "grant", "revoke", "listen",
				"vacuum", "treat"): // forbidden says why treat is here
			return AnyTrace, false, nil
		}
	}
	c := calls{}
	c.find(ts)
	if c.Refused != "" {
		return AnyTrace, false, nil
	}
	for _, f := range c.Functions {
		trace = max(trace, f.Trace())
	}
	return trace, true, c.Functions
}

// compiles reports whether ts sets a setting that decides how PL/pgSQL functions are compiled. Functions that are compiled while it is set keep
// its effect until the session ends.
func compiles(ts tokens) bool {
	decides := func(setting string) bool {
		setting = strings.ToLower(setting)
		return strings.HasPrefix(setting, "plpgsql.") || setting == "standard_conforming_strings" || setting == "plpgsql"
	}
	for i := 1; i < len(ts); i++ {
		t, before := ts[i], ts[i-1]
		switch {
		case i+1 < len(ts) && t.name() && decides(t.text) && before.word("set", "local", "session") && (t.text != "plpgsql" || ts[i+1].is(".")):
			return true
		case i > 1 && before.is("(") && ts[i-2].name() && ts[i-2].text == "set_config" && t.kind == literal && decides(t.text):
			return true
		}
	}
	return false
}

// lasts reports whether ts calls, anywhere, a function that leaves a LastingTrace, judged by its name.
func lasts(ts tokens) bool {
	for i := 1; i < len(ts); i++ {
		if ts[i].is("(") && ts[i-1].name() && (Function{Name: ts[i-1].text}).Trace() == LastingTrace {
			return true
		}
	}
	return false
}

// command returns what a statement that is neither a query nor a change of data leaves behind in its session.
func command(ts tokens) Trace {
	setting := ts.at(1) // the name of the setting, if this is SET
	if setting.word("local", "session") {
		setting = ts.at(2)
	}
	switch {
	case ts[0].word("set") && ts.at(1).word("local") && setting.name() && strings.EqualFold(setting.text, "seed"):
		return SessionTrace // the seed of random outlives the transaction
	case ts[0].word("set") && ts.at(1).word("local") && setting.name() && (strings.EqualFold(setting.text, "search_path") || setting.word("schema")):
		return AnyTrace // later names may mean other tables than those that the catalogs were asked about
	case ts[0].word("begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release", "show", "lock",
		"notify"):
		return NoTrace
	case ts[0].word("set") && (ts.at(1).word("local", "constraints") || ts.at(1).word("transaction")):
		return NoTrace // such settings end with the transaction
	case ts[0].word("load"):
		return LastingTrace
	case ts[0].word("discard") && ts.at(1).word("all"), ts[0].word("deallocate") && (ts.at(1).word("all") || ts.at(1).word("prepare") && ts.at(2).word("all")):
		return LastingTrace // pgx does not notice that its prepared statements are gone
	case ts[0].word("prepare", "deallocate"):
		return PreparedTrace
	case ts[0].word("set", "reset", "listen", "unlisten", "close", "discard"):
		return SessionTrace
	}
	return AnyTrace
}

// Trace returns what a call of f leaves behind in its session, judged by its name alone.
func (f Function) Trace() Trace {
	switch {
	case f.Schema != "" && f.Schema != "pg_catalog", strings.HasPrefix(f.Name, "dblink"):
		if strings.HasPrefix(f.Name, "dblink_connect") || strings.HasPrefix(f.Name, "dblink_disconnect") {
			return LastingTrace
		}
		return AnyTrace
	case lasting.has(f.Name):
		return LastingTrace
	case f.Name == "nextval", f.Name == "setval":
		return SequenceTrace
	case f.Local:
		return NoTrace
	case inSession.has(f.Name):
		return SessionTrace
	case Harmless(f.Name), quiet.has(f.Name):
		return NoTrace
	}
	return AnyTrace
}

// TellsSequence reports whether f returns what nextval returned before in the session.
func (f Function) TellsSequence() bool { return f.Name == "currval" || f.Name == "lastval" }

// TellsSession reports whether f returns which session it runs in.
func (f Function) TellsSession() bool {
	return f.Name == "pg_backend_pid" || f.Name == "inet_client_port" || f.Name == "inet_client_addr"
}

// lasting has the functions of pg_catalog whose effect on the session no reset takes away.
var lasting = words{
	"isn_weak", "pg_backup_start", "pg_copy_logical_replication_slot", "pg_copy_physical_replication_slot", "pg_create_logical_replication_slot",
	"pg_create_physical_replication_slot", "pg_replication_origin_session_setup", "pg_start_backup",
}

// inSession has the functions of pg_catalog that are known to leave a SessionTrace and no more.
var inSession = words{
	"pg_advisory_lock", "pg_advisory_lock_shared", "pg_advisory_unlock", "pg_advisory_unlock_all", "pg_advisory_unlock_shared",
	"pg_try_advisory_lock", "pg_try_advisory_lock_shared", "set_config", "setseed",
}

// quiet has functions of pg_catalog that leave nothing behind in their session, although they are not Harmless: they are volatile, write, wait, or
// return something about the session. What they do is in the database, or ends with the transaction.
var quiet = words{
	"clock_timestamp", "current_schema", "current_setting", "currval", "gen_random_uuid", "has_column_privilege", "has_database_privilege", "has_function_privilege",
	"has_language_privilege", "has_schema_privilege", "has_sequence_privilege", "has_table_privilege", "has_type_privilege", "inet_client_addr",
	"inet_client_port", "inet_server_addr", "inet_server_port", "lastval", "pg_advisory_xact_lock", "pg_advisory_xact_lock_shared", "pg_backend_pid",
	"pg_collation_is_visible", "pg_conversion_is_visible", "pg_current_wal_lsn", "pg_current_xact_id", "pg_current_xact_id_if_assigned",
	"pg_function_is_visible", "pg_is_in_recovery", "pg_last_wal_replay_lsn", "pg_notify", "pg_opclass_is_visible", "pg_operator_is_visible",
	"pg_opfamily_is_visible", "pg_postmaster_start_time", "pg_sleep", "pg_sleep_for", "pg_sleep_until", "pg_table_is_visible", "pg_table_size",
	"pg_total_relation_size", "pg_try_advisory_xact_lock", "pg_try_advisory_xact_lock_shared", "pg_ts_config_is_visible", "pg_ts_dict_is_visible",
	"pg_type_is_visible", "random", "random_normal", "suppress_redundant_updates_trigger", "timeofday", "tsvector_update_trigger",
	"tsvector_update_trigger_column", "txid_current", "txid_current_if_assigned", "uuidv4", "uuidv7",
}

package sqltext

import (
	"slices"
	"strings"

	"github.com/lmipool/lmipool/internal/pattern"
)

// Meaning is what a statement does to the meaning of the texts that its session gets after it. A text's meaning is decided when it is parsed: which
// table a name stands for, which instant '2024-01-01' is. A prepared statement keeps its meaning. The values are in order, from the least change to
// the most.
type Meaning uint8

const (
	// KeepsMeaning means that later texts mean what they meant before.
	KeepsMeaning Meaning = iota
	// RestoresMeaning means that a transaction, or its part since a savepoint, ends, and that the settings made in it may end too.
	RestoresMeaning
	// MayChangeMeaning means that it may change settings, but its text does not show which. The server can be asked afterwards.
	MayChangeMeaning
	// ChangesMeaning means that later texts may mean something else.
	ChangesMeaning
)

// AfterMeaning returns what sql does to the meaning of later texts, judged by its text alone. Functions that it calls and triggers that it fires may
// do more: AfterMeaning knows only set_config.
func AfterMeaning(sql string) (m Meaning) {
	ts, refused := lex(sql)
	if refused != "" {
		return MayChangeMeaning
	}
	if one, refused := oneStatement(ts); refused == "" {
		return afterMeaning(one)
	}
	m = MayChangeMeaning // the first ones may have changed the meaning of the later ones
	for _, one := range ts.statements() {
		m = max(m, afterMeaning(one))
	}
	return m
}

// afterMeaning returns what one statement does to the meaning of later texts.
func afterMeaning(ts tokens) Meaning {
	for i, t := range ts {
		if !t.is("(") || !ts.at(i-1).name() || ts.at(i-1).text != "set_config" {
			continue
		}
		switch name, known := ts.setting(i + 1); {
		case !known:
			return MayChangeMeaning
		case !keepsMeaning(name):
			return ChangesMeaning
		}
	}
	if len(ts) == 0 || ts.first().word(Plainest...) {
		return KeepsMeaning
	}
	return commandMeaning(ts)
}

// setting returns the name of a setting that is the argument at i. It is known if it is a string, alone or with a cast, and not the last argument.
func (ts tokens) setting(i int) (name string, known bool) {
	arg := ts.at(i)
	return arg.text, arg.kind == literal && arg.text != "" && (ts.at(i+1).is(",") || ts.at(i+1).is("::"))
}

// commandMeaning returns what a statement that is neither a query nor a change of data does to the meaning of later texts.
func commandMeaning(ts tokens) Meaning {
	switch {
	case ts[0].word("begin", "start", "savepoint", "release", "show", "lock", "notify", "listen", "unlisten", "close", "load", "deallocate",
		"checkpoint"):
		return KeepsMeaning
	case ts[0].word("commit", "end", "rollback", "abort"), ts[0].word("prepare") && ts.at(1).word("transaction"):
		return RestoresMeaning
	case ts[0].word("prepare"):
		return KeepsMeaning
	case ts[0].word("discard") && ts.at(1).word("plans", "sequences"):
		return KeepsMeaning
	case ts[0].word("create") && slices.ContainsFunc(ts[1:min(5, len(ts))], func(t token) bool { return t.word("temp", "temporary") }):
		return ChangesMeaning // a temporary table may hide another of its name
	case !ts[0].word("set", "reset"):
		return MayChangeMeaning
	}
	setting := 1
	if ts.at(1).word("local", "session") {
		setting = 2
	}
	switch name := ts.at(setting); {
	case name.word("transaction", "characteristics"):
		return KeepsMeaning
	case name.word("constraints"):
		return MayChangeMeaning // deferred triggers run now
	case ts.at(setting+1).is(".") || name.name() && keepsMeaning(name.text):
		return KeepsMeaning
	case ts[0].word("reset"):
		return MayChangeMeaning // the setting may already have had its default
	}
	return ChangesMeaning
}

// keepsMeaning reports whether a setting has no influence on what texts mean. A setting with a dot in its name is not PostgreSQL's own, so its parser
// does not read it. The settings that runs matches only say how statements are planned, run, limited, logged or answered.
func keepsMeaning(setting string) bool {
	return strings.Contains(setting, ".") || runs.RE().MatchString(setting)
}

// runs matches the names of PostgreSQL's own settings that are known not to change what a text means. Any other name counts as if it changed the
// meaning, as search_path, role, TimeZone, DateStyle, IntervalStyle, array_nulls, xmloption and lc_monetary do.
var runs = pattern.Lazy{Text: `(?i)^(?:(?:enable|log|debug|jit|geqo|tcp|vacuum|autovacuum|track|max_parallel|default_transaction|transaction|gin|seq|trace)_.*|` +
	`.*_(?:timeout|cost|mem|buffers|limit|collapse_limit|fraction|multiplier|io_concurrency|tablespaces?)|` +
	`application_name|check_function_bodies|client_min_messages|commit_delay|commit_siblings|constraint_exclusion|effective_cache_size|` +
	`exit_on_error|geqo|jit|parallel_leader_participation|plan_cache_mode|seed|synchronous_commit|` +
	`update_process_title|wal_compression)$`}

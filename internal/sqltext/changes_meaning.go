package sqltext

import (
	"regexp"
	"slices"
	"strings"
)

// Meaning is what a statement does to the meaning of the texts that its session is sent after it. A text's meaning is
// decided when it is parsed: which table a name stands for, which instant '2024-01-01' is. It stays in a prepared
// statement. The values are in order, from the least to the most.
type Meaning uint8

const (
	// KeepsMeaning: later texts mean what they meant before.
	KeepsMeaning Meaning = iota
	// RestoresMeaning: a transaction or a part of one ends, and with it what was set in it, or since a savepoint.
	RestoresMeaning
	// MayChangeMeaning: it does something that its text does not show. The server can tell what came of it.
	MayChangeMeaning
	// ChangesMeaning: later texts may mean something else.
	ChangesMeaning
)

// AfterMeaning says what sql does to the meaning of later texts, as far as its text says. Functions that a query calls and triggers
// that it fires may do more: the text does not say that. Only set_config is known by its name.
func AfterMeaning(sql string) (m Meaning) {
	tokens, refused := lex(sql)
	if refused != "" {
		return MayChangeMeaning
	}
	if one, refused := oneStatement(tokens); refused == "" {
		return afterMeaning(one)
	}
	m = MayChangeMeaning // some of them ran after others
	for len(tokens) > 0 {
		end := slices.IndexFunc(tokens, func(t token) bool { return t.is(";") })
		if end < 0 {
			end = len(tokens)
		}
		m = max(m, afterMeaning(tokens[:end]))
		tokens = tokens[min(end+1, len(tokens)):]
	}
	return m
}

// afterMeaning is AfterMeaning for one statement.
func afterMeaning(tokens []token) (m Meaning) {
	for i, t := range tokens {
		if i == 0 || !t.is("(") || !tokens[i-1].name() || tokens[i-1].text != "set_config" {
			continue
		}
		m = max(m, MayChangeMeaning)
		if i+2 < len(tokens) && tokens[i+1].kind == literal && tokens[i+1].text != "" && (tokens[i+2].is(",") || tokens[i+2].is("::")) {
			if m = ChangesMeaning; keepsMeaning(tokens[i+1].text) {
				m = KeepsMeaning
			}
		}
		if m != KeepsMeaning {
			return m
		}
	}
	first := 0
	for first < len(tokens)-1 && tokens[first].is("(") {
		first++
	}
	if len(tokens) == 0 || tokens[first].word("select", "values", "table", "with", "insert", "update", "delete", "merge") {
		return KeepsMeaning
	}
	return commandMeaning(tokens)
}

// commandMeaning is AfterMeaning for what is neither a query nor a change of data.
func commandMeaning(tokens []token) Meaning {
	at := func(i int) token {
		if i < len(tokens) {
			return tokens[i]
		}
		return token{kind: symbol}
	}
	switch {
	case tokens[0].word("begin", "start", "savepoint", "release", "show", "lock", "notify", "listen", "unlisten", "close", "load", "deallocate",
		"checkpoint"):
		return KeepsMeaning
	case tokens[0].word("commit", "end", "rollback", "abort"), tokens[0].word("prepare") && at(1).word("transaction"):
		return RestoresMeaning
	case tokens[0].word("prepare"):
		return KeepsMeaning
	case tokens[0].word("discard") && at(1).word("plans", "sequences"):
		return KeepsMeaning
	case tokens[0].word("create") && slices.ContainsFunc(tokens[1:min(5, len(tokens))], func(t token) bool { return t.word("temp", "temporary") }):
		return ChangesMeaning // it may hide a table
	case !tokens[0].word("set", "reset"):
		return MayChangeMeaning
	}
	setting := 1
	if at(1).word("local", "session") {
		setting = 2
	}
	switch name := at(setting); {
	case name.word("transaction", "characteristics"):
		return KeepsMeaning
	case name.word("constraints"):
		return MayChangeMeaning // triggers that were deferred run
	case at(setting+1).is(".") || name.name() && keepsMeaning(name.text):
		return KeepsMeaning
	case tokens[0].word("reset"):
		return MayChangeMeaning // it may be what it was
	}
	return ChangesMeaning
}

// keepsMeaning reports whether a setting has no influence on what texts mean. A name with a dot is not one of PostgreSQL's
// own settings, so its parser does not read it. Others only say how statements are planned, run, bounded, logged or answered.
func keepsMeaning(setting string) bool {
	return strings.Contains(setting, ".") || runs.MatchString(setting)
}

// runs matches the names of PostgreSQL's own settings that do not change what a text means. It is a list of what is known to
// be harmless: search_path, role, TimeZone, DateStyle, IntervalStyle, array_nulls, xmloption, lc_monetary change the meaning, and any
// name that is not listed here counts as if it did.
var runs = regexp.MustCompile(`(?i)^(?:(?:enable|log|debug|jit|geqo|tcp|vacuum|autovacuum|track|max_parallel|default_transaction|transaction|gin|seq|trace)_.*|` +
	`.*_(?:timeout|cost|mem|buffers|limit|collapse_limit|fraction|multiplier|io_concurrency|tablespaces?)|` +
	`application_name|check_function_bodies|client_min_messages|commit_delay|commit_siblings|constraint_exclusion|effective_cache_size|` +
	`exit_on_error|geqo|jit|parallel_leader_participation|plan_cache_mode|seed|synchronous_commit|` +
	`update_process_title|wal_compression)$`)

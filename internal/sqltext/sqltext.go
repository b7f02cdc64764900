// Package sqltext finds out what a statement's text says without a parser: whether anything in it forbids that the statement shares a connection with
// other invocations' reads, which functions it names, and all that it mentions.
//
// A statement may ride if
//
//   - [Scan] of its text refuses nothing: it is one statement, begins with SELECT, VALUES, TABLE or WITH, and has no
//     locking clause, no INTO and no data-modifying word;
//   - every function that it calls is [Function.Harmless], or the user has declared it harmless;
//   - nothing that it mentions ([Mention]) is code of the user's own, or leads to some. Only the catalogs can say that, because a
//     name may be a function, a type or a relation; t.f may mean f(t); IN may be the user's operator.
//
// The scan is strict: it refuses what it does not understand. A statement that is refused without need goes alone, which is slower. A statement that
// is accepted by mistake may break the isolation of another invocation.
package sqltext

import (
	"strings"
	"unicode/utf8"
)

// Statement is what a scan of one SQL text found.
type Statement struct {
	// Refused says in a few words why the statement may not share a connection ("insert", "for update", "two statements" …). If nothing in the
	// text forbids it, Refused is "", and whether the statement may share depends on Functions.
	Refused string

	// Functions has each name that is called, or may be, once, in the order of their first appearance. It is incomplete if Refused is not "".
	Functions []Function
}

// Function is a function's name, folded to lower case where it was not quoted.
type Function struct {
	Schema string // "" if the name was not qualified
	Name   string
	Local  bool // it is set_config with the word true as its last argument: the setting ends with the transaction
	Custom bool // it is current_setting, and its first argument is the name of a setting with a dot in it
}

// String returns the name without quotes, for messages and for comparing with a user's list. It must not be used in SQL.
func (f Function) String() string {
	if f.Schema == "" {
		return f.Name
	}
	return f.Schema + "." + f.Name
}

// Harmless reports whether f, by its name, is a built-in function for which the function [Harmless] is true, or reads a setting with a dot in its
// name. A lane's guard changes no such setting, so the result is the same on a lane.
func (f Function) Harmless() bool {
	return (f.Schema == "" || f.Schema == "pg_catalog") && (Harmless(f.Name) || f.Custom)
}

// Scan scans the text of a statement as PostgreSQL 14 to 18 read it with standard_conforming_strings on and client_encoding UTF8. It refuses a text
// that another of these versions, or another standard_conforming_strings, would read differently.
func Scan(sql string) Statement {
	ts, refused := lex(sql)
	if refused == "" {
		ts, refused = oneStatement(ts)
	}
	if refused == "" {
		refused = forbidden(ts)
	}
	if refused != "" {
		return Statement{Refused: refused}
	}
	var c calls
	c.find(ts)
	return c.Statement
}

// forbidden returns why ts may not ride, judged by a list of words, or "" if it finds none of them. It looks for the words everywhere, even where
// they only name a column: a statement with a column called "lock" goes alone.
func forbidden(ts tokens) string {
	switch {
	case ts.first() == token{kind: symbol}:
		return "empty"
	case !ts.first().word("select", "values", "table", "with"):
		return "not a read"
	}
	for i, t := range ts {
		if t.kind != word {
			continue
		}
		switch t.text {
		case "insert", "update", "delete", "merge", // after WITH, or as a CTE
			"into", // SELECT INTO creates a table
			// These words can only begin a statement, and a text that does not begin with a read is refused already. They are a second line of
			// defence, in case this scanner and PostgreSQL disagree on where a string or a comment ends.
			"truncate", "copy", "call", "do", "lock", "execute", "create", "alter", "drop", "grant", "revoke", "listen",
			"vacuum",
			// TREAT (x AS f) calls pg_catalog.f(x), for any f: it has a function's name where a type's name should be.
			"treat":
			return t.text
		case "for":
			if next := ts.at(i + 1); next.word("update", "no", "key", "share") {
				return "for " + next.text
			}
		}
	}
	return ""
}

// fold returns s in lower case, as PostgreSQL folds a name that is not quoted: ASCII letters only. In a database with a single-byte encoding
// PostgreSQL folds other letters too, but no name with which s is compared has such letters.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + ('a' - 'A')
		}
		return r
	}, s)
}

// Cut shortens a text to at most n bytes, at the start of a rune.
func Cut(sql string, n int) string {
	if len(sql) <= n {
		return sql
	}
	for n > 0 && !utf8.RuneStart(sql[n]) {
		n--
	}
	return sql[:n] + "…"
}

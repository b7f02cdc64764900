// Package sqltext says of a statement what can be said without a parser: whether anything in its text forbids that it shares
// a connection with other invocations' reads, which functions it names, and all that it mentions.
//
// A statement may ride if
//
//   - [Scan] of its text refuses nothing: it is one statement, begins with SELECT, VALUES, TABLE or WITH, and has no
//     locking clause, no INTO and no data-modifying word;
//   - every function that it calls is [Function.Harmless], or the user's word for it was given;
//   - nothing that it mentions ([Mention]) may be code of the user's own, or lead to some. That is for the catalogs to
//     say: a name may be a function, a type, a relation; t.f may mean f(t); IN may be the user's operator.
//
// The scan is strict: what it does not understand it refuses. A false refusal costs a statement its company, a false
// acceptance may cost an invocation its isolation.
package sqltext

import (
	"strings"
	"unicode/utf8"
)

// Statement is what a scan of one SQL text found.
type Statement struct {
	// Refused says in a few words why the statement may not share a connection ("insert", "for update", "two
	// statements" …). It is "" if nothing found forbids it; then Functions decides.
	Refused string

	// Functions is every name that is called, or may be, each once, in the order of their first appearance. It is
	// incomplete if Refused is not "".
	Functions []Function
}

// Function is a function's name, folded to lower case where it was not quoted.
type Function struct {
	Schema string // "" if the name was not qualified
	Name   string
	Local  bool // it is set_config, for the transaction only: its last argument is the word true
	Custom bool // it is current_setting, and its first argument is the name of a setting with a dot in it
}

// String returns the name without quotes, for messages and for comparing with a user's list: not for SQL.
func (f Function) String() string {
	if f.Schema == "" {
		return f.Name
	}
	return f.Schema + "." + f.Name
}

// Harmless reports whether f, as far as its name says, is a function of pg_catalog that is [Harmless], or reads a
// setting with a dot in its name: none of PostgreSQL's own, so none that a lane's guard changes.
func (f Function) Harmless() bool {
	return (f.Schema == "" || f.Schema == "pg_catalog") && (Harmless(f.Name) || f.Custom)
}

// Scan scans the text of a statement as PostgreSQL 14 to 18 would read it with standard_conforming_strings on and
// client_encoding UTF8. Where these, the version or the setting, make a difference, it refuses.
func Scan(sql string) Statement {
	tokens, refused := lex(sql)
	if refused == "" {
		tokens, refused = oneStatement(tokens)
	}
	if refused == "" {
		refused = forbidden(tokens)
	}
	if refused != "" {
		return Statement{Refused: refused}
	}
	var c calls
	c.find(tokens)
	return c.Statement
}

// oneStatement returns the tokens without the semicolon at their end, and refuses any other semicolon.
func oneStatement(tokens []token) ([]token, string) {
	for i, t := range tokens {
		if t.is(";") {
			if i+1 < len(tokens) {
				return nil, "two statements"
			}
			return tokens[:i], ""
		}
	}
	return tokens, ""
}

// forbidden returns what a list of words can forbid. The words are looked for everywhere, also where they only name a
// column: whoever calls a column "lock" has it alone.
func forbidden(tokens []token) string {
	first := 0
	for first < len(tokens) && tokens[first].is("(") {
		first++
	}
	switch {
	case first == len(tokens):
		return "empty"
	case !tokens[first].word("select", "values", "table", "with"):
		return "not a read"
	}
	for i, t := range tokens {
		if t.kind != word {
			continue
		}
		switch t.text {
		case "insert", "update", "delete", "merge", // after WITH, or as a CTE
			"into", // SELECT INTO creates a table
			// These can only begin a statement, and what begins another than a read is refused already. Should we and
			// PostgreSQL ever disagree on where a string or a comment ends, they are the second line.
			"truncate", "copy", "call", "do", "lock", "execute", "create", "alter", "drop", "grant", "revoke", "listen",
			"vacuum",
			// TREAT (x AS f) calls pg_catalog.f(x), whatever f is: a function's name where a type's should be.
			"treat":
			return t.text
		case "for":
			if i+1 < len(tokens) && tokens[i+1].word("update", "no", "key", "share") {
				return "for " + tokens[i+1].text
			}
		}
	}
	return ""
}

// fold is PostgreSQL's folding of a name that is not quoted: ASCII only. In a database with a single-byte encoding it
// also folds letters beyond; no name that is compared with has any.
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

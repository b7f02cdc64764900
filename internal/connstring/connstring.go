// Package connstring says what is wrong with a connection string, without saying what is
// in it.
package connstring

import (
	"errors"
	"regexp"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// Fault is what is wrong with the connection string that a parser of pgx's has refused with
// err. pgx's own error quotes the string, masks what it takes for the password, and
// has the whole of it in a field: what has just been found to be malformed does not
// tell where its password ends. So only pgx's diagnosis is left, and of what that
// quotes, keys, and values that clearly belong to another key than the password.
func Fault(err error) error {
	var e *pgconn.ParseConfigError
	if !errors.As(err, &e) {
		return err
	}
	bare := *e
	bare.ConnString = ""
	text := strings.TrimPrefix(bare.Error(), "cannot parse ``: ")
	if strings.ContainsAny(e.ConnString, `"\`) { // pgx does not escape all that it quotes
		text, _, _ = strings.Cut(text, `"`)
	}
	text = quoted.ReplaceAllStringFunc(text, func(q string) string {
		word, err := strconv.Unquote(q)
		if err == nil && harmless(word, e.ConnString) {
			return q
		}
		return `"…"`
	})
	text = "cannot parse the connection string: " + strings.TrimSpace(text)
	if want := wanted(text); want != "" {
		text += ": want " + want
	}
	if strings.Contains(behindUser(e.ConnString), "@") { // it may end the password, and is not where pgx looks for it
		text += "; " + Escape
	}
	return fault(text)
}

// fault is what is wrong, and to errors.As a [pgconn.ParseConfigError], as with pgx, in which there is nothing else.
type fault string

func (f fault) Error() string { return string(f) }
func (f fault) Unwrap() error { return pgconn.NewParseConfigError("", string(f), nil) }

// quoted is what strconv.Quote makes, or a hand.
var quoted = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// ours are pgx's own words.
var ours = regexp.MustCompile(`^(sslcert|sslkey|[]=:/])$`)

// harmless reports whether word is no part of a password: it is not in the string at
// all, or is the value of a key that is none.
func harmless(word, connString string) bool {
	if ours.MatchString(word) || !strings.Contains(connString, word) {
		return true
	}
	value := regexp.MustCompile(`(?:^|[\s?&])([a-z_]+)\s*=\s*'?` + regexp.QuoteMeta(word) + `(?:['&\s]|$)`).FindStringSubmatch(connString)
	return value != nil && !strings.Contains(value[1], "pass") && strings.Count(connString, word) == 1
}

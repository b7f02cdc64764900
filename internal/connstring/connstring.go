// Package connstring finds what is wrong with a connection string. Its errors do not show the password.
package connstring

import (
	"errors"
	"regexp"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/pattern"
)

// Fault returns err, with which pgx's parser has refused a connection string, without anything that may be a part of the password. pgx's error quotes
// the string, masks what it takes for the password, and has the whole string in a field. But in a malformed string it is not certain where the
// password ends. So Fault keeps only pgx's diagnosis, and of the words that it quotes only keys, and values that clearly belong to a key other than
// the password. It adds what would be right, if that is known. It returns an error that is not pgx's as it is.
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
	text = quoted.RE().ReplaceAllStringFunc(text, func(q string) string {
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
	if strings.Contains(behindUser(e.ConnString), "@") { // this @ may belong to the password, which pgx ends at the first @
		text += "; " + Escape
	}
	return fault(text)
}

// fault is the text of an error. For errors.As it is a [pgconn.ParseConfigError], as pgx's error is, but one that has only this text.
type fault string

func (f fault) Error() string { return string(f) }
func (f fault) Unwrap() error { return pgconn.NewParseConfigError("", string(f), nil) }

// quoted matches a word in double quotes.
var quoted = pattern.Lazy{Text: `"(?:[^"\\]|\\.)*"`}

// ours matches words that pgx quotes and that are its own, not the string's.
var ours = pattern.Lazy{Text: `^(sslcert|sslkey|[]=:/])$`}

// harmless reports whether word is not a part of a password: it is not in the string at all, or is there once, as the value of a key that is not a
// password's.
func harmless(word, connString string) bool {
	if ours.RE().MatchString(word) || !strings.Contains(connString, word) {
		return true
	}
	value := regexp.MustCompile(`(?:^|[\s?&])([a-z_]+)\s*=\s*'?` + regexp.QuoteMeta(word) + `(?:['&\s]|$)`).FindStringSubmatch(connString)
	return value != nil && !strings.Contains(value[1], "pass") && strings.Count(connString, word) == 1
}

package pgerr

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/pattern"
)

// EncodeError is pgx's error for an argument that cannot be encoded, with the argument's Go type in place of the argument.
type EncodeError struct {
	text string
	err  error // Unwrap does not return it, since the errors inside quote the argument too
}

func (e EncodeError) Error() string         { return e.text } // the receiver is no pointer, since a printed copy would show err then
func (e *EncodeError) Is(target error) bool { return errors.Is(e.err, target) }
func (e *EncodeError) As(target any) bool   { return errors.As(e.err, target) }

// encodes matches pgx's error about an argument that cannot be encoded, which the server repeats for a COPY. The second submatch is the argument's value.
var encodes = pattern.Lazy{Text: `(?s)^((?:error preprocessing batch \(build\): |COPY from stdin failed: )?(?:failed to encode args\[\d+\]: )?)` +
	`unable to encode (.*) (into \S+ (?:\(\d+\) )?format for [^:]* \(OID \d+\)): (.*)$`}

// These stand in an error in place of a value.
const (
	someValue   = "the value"
	valueOfType = "a value of type "
)

// Arguments are the arguments of a call, of which pgx may have failed to encode one.
type Arguments struct {
	Args  []any
	Batch []*pgx.QueuedQuery
}

// WithoutArgument hides the argument that err quotes, if pgx could not encode one of g.
func (g Arguments) WithoutArgument(err error) error {
	if e, ok := err.(*pgconn.PgError); ok { //nolint:errorlint // only the server's error itself, and not one inside a wrapper
		if text, found := g.cut(e.Message); found {
			c := *e
			c.Message = text
			return &c
		}
		return err
	}
	if text, found := g.cut(err.Error()); found {
		return &EncodeError{text, err}
	}
	return err
}

func (g Arguments) cut(text string) (string, bool) {
	m := encodes.RE().FindStringSubmatch(text)
	if m == nil || m[2] == someValue || strings.HasPrefix(m[2], valueOfType) { // the value was hidden before
		return "", false
	}
	what := someValue
	if t := g.typeOf(m[2]); t != "" {
		what = valueOfType + t
	}
	return m[1] + "unable to encode " + what + " " + m[3] + ": " + blank(m[4], m[2]), true
}

// typeOf returns the Go type of the argument that pgx's error shows as shown, or "" if there is none because the user's QueryRewriter has made it.
func (g Arguments) typeOf(shown string) string {
	args := slices.Clip(g.Args)
	for _, q := range g.Batch {
		args = append(args, q.Arguments...)
	}
	for _, arg := range args {
		switch named := arg.(type) {
		case pgx.NamedArgs:
			args = slices.AppendSeq(args, maps.Values(named))
		case pgx.StrictNamedArgs:
			args = slices.AppendSeq(args, maps.Values(named))
		}
	}
	for _, arg := range args {
		if inGo(arg) == shown {
			return fmt.Sprintf("%T", arg)
		}
	}
	return ""
}

// inGo returns the text with which pgx's errors show v, or "" if a method of v panics.
func inGo(v any) (shown string) {
	defer func() {
		if recover() != nil { // v's method GoString has panicked
			shown = ""
		}
	}()
	return fmt.Sprintf("%#v", v)
}

// leastHidden is the number of letters from which a word is also hidden inside longer words. Shorter ones occur inside many words by chance.
const leastHidden = 4

// blank returns why, which may quote value, without the words of value.
func blank(why, value string) string {
	all := words.RE().FindAllString(value, -1)
	slices.SortFunc(all, func(a, b string) int { return cmp.Compare(len(b), len(a)) }) // the longest first, since it may contain others
	for _, word := range slices.Compact(all) {
		switch {
		case !strings.Contains(why, word):
		case utf8.RuneCountInString(word) >= leastHidden:
			why = strings.ReplaceAll(why, word, "…")
		default:
			why = blankAlone(why, word, "", `\pL\pN`)
		}
	}
	return why
}

// blankAlone returns text without word, where word stands alone: the characters beside it are not in the regexp class letters.
func blankAlone(text, word, flags, letters string) string {
	alone := regexp.MustCompile(flags + `(^|[^` + letters + `])` + regexp.QuoteMeta(word) + `($|[^` + letters + `])`)
	return alone.ReplaceAllString(alone.ReplaceAllString(text, "${1}…$2"), "${1}…$2") // twice: one match takes the character that the next would need
}

// words matches one word of a value.
var words = pattern.Lazy{Text: `[\pL\pN]+`}

// WithoutValues returns err, the error of a statement that sets values, without them: PostgreSQL quotes a value that it refuses, whole or word by word.
func WithoutValues(err error, values []string) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return err
	}
	c := *pg
	for _, field := range []*string{&c.Message, &c.Detail, &c.Hint, &c.Where} {
		*field = blankSettings(*field, values)
	}
	c.InternalQuery = ""
	return &c
}

// leastWord is the number of letters from which a word of a value is hidden. Shorter words tell little, and occur in every text.
const leastWord = 3

func blankSettings(text string, values []string) string {
	for _, value := range values {
		if value == "" || text == "" {
			continue
		}
		text = strings.ReplaceAll(text, value+`"`, `…"`)
		for n, word := range append([]string{value, cutName(value)}, wordsOfName.RE().FindAllString(value, -1)...) {
			if n < 2 || utf8.RuneCountInString(word) >= leastWord {
				text = blankAlone(text, word, "(?i)", `\pL\pN_`)
			}
		}
	}
	return text
}

var wordsOfName = pattern.Lazy{Text: `[\pL\pN_]+`}

// cutName returns value as the server shortens it if it is a name: to 63 bytes, without half a character.
func cutName(value string) string {
	n := min(len(value), 63)
	for n < len(value) && n > 0 && !utf8.RuneStart(value[n]) {
		n--
	}
	return value[:n]
}

package pool

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Whoever shows one of these with fmt, with whatever verb, gets a line: what is inside
// changes meanwhile, which would be a data race, and may be secrets.

// String describes p in one line.
func (p *Pool) String() string {
	s := p.Stat()
	return fmt.Sprintf("lmipool.Pool(max %d, total %d, acquired %d, idle %d)", s.MaxConns(), s.TotalConns(), s.AcquiredConns(), s.IdleConns())
}

// Format writes what String returns, whatever the verb.
func (p *Pool) Format(f fmt.State, _ rune) { write(f, p.String()) }

// Format describes b in one line, whatever the verb: the names of its settings, not their values.
func (b Bound) Format(f fmt.State, _ rune) {
	switch {
	case b.err != nil:
		write(f, "lmipool.Bound(", b.err.Error(), ")")
	case b.s != nil:
		write(f, "lmipool.Bound(", b.s.joined, ")")
	default: // the zero value, which With does not return
		write(f, "lmipool.Bound()")
	}
}

// Format describes l in one line, as a [Holder] does, whatever the verb.
func (l *Lease) Format(f fmt.State, _ rune) {
	if l.plain != nil {
		write(f, "lmipool.Lease()")
		return
	}
	write(f, "lmipool.Lease(", l.holder(time.Now()).String(), ")")
}

// Format writes the name of s, whatever the verb.
func (s *Scope) Format(f fmt.State, _ rune) {
	if s == nil {
		write(f, "lmipool.Scope(none)")
		return
	}
	write(f, "lmipool.Scope(", s.name, ")")
}

// Of these there is nothing to tell but results, which may be secrets as well.
func (*row) Format(f fmt.State, _ rune)          { write(f, "lmipool.Row()") }
func (*rows) Format(f fmt.State, _ rune)         { write(f, "lmipool.Rows()") }
func (*bufferedRows) Format(f fmt.State, _ rune) { write(f, "lmipool.Rows()") }
func (*batch) Format(f fmt.State, _ rune)        { write(f, "lmipool.BatchResults()") }
func (*tx) Format(f fmt.State, _ rune)           { write(f, "lmipool.Tx()") }

func write(f fmt.State, s ...string) {
	for _, s := range s {
		_, _ = io.WriteString(f, s)
	}
}

// encodeError is pgx's error of an argument that cannot be encoded, without the argument.
type encodeError struct {
	text string
	err  error // not to be unwrapped: what is in it quotes the argument too
}

func (e *encodeError) Error() string        { return e.text }
func (e *encodeError) Is(target error) bool { return errors.Is(e.err, target) }
func (e *encodeError) As(target any) bool   { return errors.As(e.err, target) }

// encodes is what pgx says, around the value, which may have any text in it. The server says it
// too, of a COPY that pgx has failed.
var encodes = regexp.MustCompile(`(?s)^((?:error preprocessing batch \(build\): |COPY from stdin failed: )?(?:failed to encode args\[\d+\]: )?)` +
	`unable to encode (.*) (into \S+ (?:\(\d+\) )?format for [^:]* \(OID \d+\)): (.*)$`)

// withoutArgument hides the argument that is in err, if pgx could not encode one.
func withoutArgument(err error) error {
	if e, ok := err.(*pgconn.PgError); ok { //nolint:errorlint // as it came from the server
		if text, found := cutArgument(e.Message); found {
			c := *e
			c.Message = text
			return &c
		}
		return err
	}
	if text, found := cutArgument(err.Error()); found {
		return &encodeError{text, err}
	}
	return err
}

func cutArgument(text string) (string, bool) {
	m := encodes.FindStringSubmatch(text)
	if m == nil || m[2] == "the value" { // it is ours
		return "", false
	}
	before, value, after, why := m[1], m[2], m[3], m[4]
	without := before + "unable to encode the value " + after
	for _, word := range words.FindAllString(value, -1) {
		if strings.Contains(why, word) { // it quotes the value once more
			return without, true
		}
	}
	return without + ": " + why, true
}

// words are what a value consists of.
var words = regexp.MustCompile(`[\pL\pN]+`)

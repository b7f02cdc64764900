package session

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/pgwire"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// Settings are what the statements of a tenant run with. They are transaction-local, their values are parameters, and they travel in the same Sync segment
// as the statement: they end with it, and if they fail the server skips it. They never change.
type Settings struct {
	Values map[string]string // by name, in lower case
	SQL    string            // the statement that sets as many settings as there are; which ones is in its parameters
	Params [][]byte          // those parameters: name, value, name, value …, sorted by name

	own     bool            // one of them is PostgreSQL's own, which may change what a text means
	joined  string          // the names
	part    pgwire.Prologue // what goes in front of a statement
	unnamed pgwire.Prologue // the same for a session that is not the connection's alone
}

const (
	maxSettings = 64 // that With takes, and therefore how many different statements set them
	maxShown    = 80 // bytes of a wrong name that an error shows
)

// NewSettings checks what With was given. No error shows a value. With once, the statement that sets s is prepared each time.
func NewSettings(given map[string]string, once bool) (*Settings, error) {
	values := make(map[string]string, len(given))
	s := &Settings{Values: values}
	var errs []error
	fault := func(format string, a ...any) { errs = append(errs, fmt.Errorf("lmipool: With: "+format, a...)) }
	for name, value := range given {
		lower := strings.ToLower(name)
		_, twice := values[lower]
		why := refusedSettings[lower]
		if strings.HasPrefix(lower, "plpgsql.") {
			why = "a function that is compiled with it keeps it, for others too"
		}
		switch {
		case twice:
			fault("setting %q is there twice, in lower and upper case", lower)
		case !settingName.MatchString(name) || len(name) > 63:
			if len(name) > maxShown {
				name = strings.ToValidUTF8(name[:maxShown], "") + "…"
			}
			fault("%q is no name of a setting: want one like app.tenant, at most 63 bytes", name)
		case why != "":
			fault("setting %q cannot be set here: %s", lower, why)
		case !utf8.ValidString(value) || strings.ContainsRune(value, 0):
			fault("the value of %q is not UTF-8, or has a zero byte", lower)
		}
		values[lower] = value
		s.own = s.own || !strings.Contains(lower, ".")
	}
	switch {
	case len(given) == 0:
		fault("no settings: want at least one")
	case len(values) > maxSettings:
		fault("%d settings: want at most %d", len(values), maxSettings)
	}
	if errs != nil {
		slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
		return nil, errors.Join(errs...)
	}
	names := slices.Sorted(maps.Keys(values))
	sets := make([]string, 0, len(names))
	for i, name := range names {
		s.Params = append(s.Params, []byte(name), []byte(values[name]))
		sets = append(sets, fmt.Sprintf("pg_catalog.set_config($%d, $%d, true)", 2*i+1, 2*i+2))
	}
	s.joined, s.SQL = strings.Join(names, ","), "select "+strings.Join(sets, ", ")
	s.encode(once)
	return s, nil
}

// encode makes the prologues that set s. Their statement is prepared once for each connection; with once, each time.
func (s *Settings) encode(once bool) {
	name := sqltext.StatementName("with", s.SQL) // its meaning depends on no setting
	b, _ := (&pgproto3.Bind{PreparedStatement: name, Parameters: s.Params}).Encode(nil)
	b, _ = (&pgproto3.Execute{}).Encode(b)
	s.part = pgwire.Prologue{Messages: b, Replies: 1, Name: name, Refused: s.Without, Prepare: func() []byte {
		b, _ := (&pgproto3.Close{ObjectType: 'S', Name: name}).Encode(nil) // no error if it is not there
		b, _ = (&pgproto3.Parse{Name: name, Query: s.SQL}).Encode(b)
		return b
	}}
	s.unnamed = s.part
	s.unnamed.Name = ""
	if once {
		s.part.Name = ""
	}
	b, _ = (&pgproto3.Parse{Query: s.SQL}).Encode(nil)
	b, _ = (&pgproto3.Bind{Parameters: s.Params}).Encode(b)
	s.unnamed.Unnamed, _ = (&pgproto3.Execute{}).Encode(b)
}

var settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_$]*(?:\.[A-Za-z_][A-Za-z0-9_$]*)*$`)

// refusedSettings are those that With does not take, and why.
var refusedSettings = map[string]string{
	"session_authorization":          "it is the session's; role can be set",
	"transaction_isolation":          "it has to come first in a transaction: use BeginTx",
	"transaction_deferrable":         "it has to come first in a transaction: use BeginTx",
	"default_transaction_isolation":  "the transaction has begun: use BeginTx",
	"default_transaction_deferrable": "the transaction has begun: use BeginTx",
	pgerr.ReadOnlySetting:            "the transaction has begun: use transaction_read_only",
	"client_encoding":                "pgx speaks UTF-8",
	"standard_conforming_strings":    "pgx relies on it",
	"seed":                           "it lasts as long as the session",
	"exit_on_error":                  "it would end a session that is shared",
}

// Prologue returns what sets s in front of an exchange. With own, the session is the connection's alone and keeps what is prepared.
func (s *Settings) Prologue(own bool) *pgwire.Prologue {
	if own {
		return &s.part
	}
	return &s.unnamed
}

// Lasting returns the statement that sets s for the session, and its parameters, the values. Its text has the names: what it changes can be seen.
func (s *Settings) Lasting() (sql string, params [][]byte) {
	var sets []string
	for i := 0; i < len(s.Params); i += 2 {
		params = append(params, s.Params[i+1])
		sets = append(sets, fmt.Sprintf("pg_catalog.set_config('%s', $%d, false)", s.Params[i], len(params))) // no name has a quote
	}
	return "select " + strings.Join(sets, ", "), params
}

// Without returns err, of the statement that sets s, without the values of s.
func (s *Settings) Without(err error) error {
	return pgerr.WithoutValues(err, slices.Sorted(maps.Values(s.Values)))
}

// Custom reports whether no setting is one of PostgreSQL's own: then the meaning of a text does not depend on them, unless it reads them.
func (s *Settings) Custom() bool { return s == nil || !s.own }

// Key returns the names, by which the catalog tells statements with settings apart.
func (s *Settings) Key() string {
	if s == nil {
		return ""
	}
	return s.joined
}

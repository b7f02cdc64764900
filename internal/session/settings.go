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

// Settings are what the statements of a tenant run with: transaction-local, so that they end with the statement, or its
// transaction, whatever comes of it. They never change.
type Settings struct {
	params  [][]byte        // name, value, name, value …: names in lower case, sorted
	args    []any           // the same
	own     bool            // one of them is PostgreSQL's own, which may change what a text means
	joined  string          // the names
	sql     string          // the statement that sets as many
	part    pgwire.Prologue // what goes in front of a statement
	unnamed pgwire.Prologue // the same where names do not last
}

const (
	maxSettings = 64 // With takes; so is the number of statements that set them
	maxShown    = 80 // bytes of a name that is none
)

// NewSettings checks what With was given. Values are in no error. once: names of statements do not last.
func NewSettings(given map[string]string, once bool) (*Settings, error) {
	s := &Settings{}
	values := make(map[string]string, len(given))
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
		s.params, s.args = append(s.params, []byte(name), []byte(values[name])), append(s.args, name, values[name])
		sets = append(sets, fmt.Sprintf("pg_catalog.set_config($%d, $%d, true)", 2*i+1, 2*i+2))
	}
	s.joined, s.sql = strings.Join(names, ","), "select "+strings.Join(sets, ", ")
	s.encode(once)
	return s, nil
}

// encode makes what sets s in front of a flight. Its statement is prepared once for each connection, and with once each time.
func (s *Settings) encode(once bool) {
	name := sqltext.StatementName("with", s.sql) // what it means hangs on no setting
	b, _ := (&pgproto3.Bind{PreparedStatement: name, Parameters: s.params}).Encode(nil)
	b, _ = (&pgproto3.Execute{}).Encode(b)
	s.part = pgwire.Prologue{Messages: b, Replies: 1, Name: name, Refused: s.Without, Prepare: func() []byte {
		b, _ := (&pgproto3.Close{ObjectType: 'S', Name: name}).Encode(nil) // no error if it is not there
		b, _ = (&pgproto3.Parse{Name: name, Query: s.sql}).Encode(b)
		return b
	}}
	s.unnamed = s.part
	s.unnamed.Name = ""
	if once {
		s.part.Name = ""
	}
	b, _ = (&pgproto3.Parse{Query: s.sql}).Encode(nil)
	b, _ = (&pgproto3.Bind{Parameters: s.params}).Encode(b)
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

// Values are what With was given, by the names in lower case.
func (s *Settings) Values() map[string]string {
	values := make(map[string]string, s.Len())
	for i := 0; i < len(s.params); i += 2 {
		values[string(s.params[i])] = string(s.params[i+1])
	}
	return values
}

// Prologue is what sets s in front of a flight. own: the session is the connection's alone, so that names last.
func (s *Settings) Prologue(own bool) *pgwire.Prologue {
	if own {
		return &s.part
	}
	return &s.unnamed
}

// SQL is the statement that sets as many settings as s has, Len. What they are is in its parameters, which are Args too.
func (s *Settings) SQL() string      { return s.sql }
func (s *Settings) Len() int         { return len(s.params) / 2 }
func (s *Settings) Params() [][]byte { return s.params }
func (s *Settings) Args() []any      { return s.args }

// Lasting is the statement that sets s for as long as the session lasts. Its text has the names, so that it can be seen what it changes; the values are
// LastingParams.
func (s *Settings) Lasting() string {
	sets := make([]string, s.Len())
	for i := range sets {
		sets[i] = fmt.Sprintf("pg_catalog.set_config('%s', $%d, false)", s.params[2*i], i+1) // no name has a quote
	}
	return "select " + strings.Join(sets, ", ")
}

func (s *Settings) LastingParams() (values [][]byte) {
	for i := 1; i < len(s.params); i += 2 {
		values = append(values, s.params[i])
	}
	return values
}

// Without is err, of what sets s, without the values of s.
func (s *Settings) Without(err error) error {
	var values []string
	for i := 1; i < len(s.params); i += 2 {
		values = append(values, string(s.params[i]))
	}
	return pgerr.WithoutValues(err, values)
}

// Custom reports whether no setting is one of PostgreSQL's own: then what a text means does not hang on them, unless it asks for
// them.
func (s *Settings) Custom() bool { return s == nil || !s.own }

// Key is the names for the catalog.
func (s *Settings) Key() string {
	if s == nil {
		return ""
	}
	return s.joined
}

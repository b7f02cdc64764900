package session

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/lmipool/lmipool/internal/pattern"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/pgwire"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// Settings are the settings with which the statements of a tenant run. They are set for one transaction, and their values are parameters. The statement
// that sets them travels in front of the tenant's statement, up to the same Sync: if it fails, the server skips the tenant's. Settings never change.
type Settings struct {
	Values map[string]string // the values by the settings' names in lower case
	SQL    string            // a statement that sets len(Values) settings; their names are parameters too
	Params [][]byte          // the parameters of SQL: name, value, name, value …, sorted by name

	own     bool            // one of the settings belongs to PostgreSQL itself, so it may change the meaning of a text
	joined  string          // the names, joined with commas
	part    pgwire.Prologue // goes in front of a statement
	unnamed pgwire.Prologue // the same for a session that other clients may use, behind a pooler
}

const (
	maxSettings = 64 // bounds the settings of With, and so the number of different texts that set them
	maxShown    = 80 // bounds the bytes of a wrong name that an error shows
)

// NewSettings checks the settings that With was given. No error shows a value. If once is true, the statement that sets them is prepared each time.
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
		case !settingName.RE().MatchString(name) || len(name) > 63:
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

// encode makes the prologues that set s. Their statement is prepared once for each connection, or, if once is true, each time.
func (s *Settings) encode(once bool) {
	name := sqltext.StatementName("with", s.SQL) // the text alone is enough, since the meaning of s.SQL depends on no setting
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

var settingName = pattern.Lazy{Text: `^[A-Za-z_][A-Za-z0-9_$]*(?:\.[A-Za-z_][A-Za-z0-9_$]*)*$`}

// refusedSettings has the settings that With does not take, with the reasons.
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

// Prologue returns the prologue that sets s in front of an exchange. own says that the session is the connection's alone, so it keeps prepared statements.
func (s *Settings) Prologue(own bool) *pgwire.Prologue {
	if own {
		return &s.part
	}
	return &s.unnamed
}

// Lasting returns a statement that sets s for the session, and the values as its parameters. The names are in its text, where sqltext sees them.
func (s *Settings) Lasting() (sql string, params [][]byte) {
	var sets []string
	for i := 0; i < len(s.Params); i += 2 {
		params = append(params, s.Params[i+1])
		sets = append(sets, fmt.Sprintf("pg_catalog.set_config('%s', $%d, false)", s.Params[i], len(params))) // no name has a quote
	}
	return "select " + strings.Join(sets, ", "), params
}

// Without returns err, the error of the statement that sets s, without the values of s.
func (s *Settings) Without(err error) error {
	return pgerr.WithoutValues(err, slices.Sorted(maps.Values(s.Values)))
}

// Custom reports whether none of the settings belongs to PostgreSQL itself. Then a text means the same with and without them, unless it reads them.
func (s *Settings) Custom() bool { return s == nil || !s.own }

// Key returns the names of the settings, or "" for nil. The catalog keeps statements with different keys apart.
func (s *Settings) Key() string {
	if s == nil {
		return ""
	}
	return s.joined
}

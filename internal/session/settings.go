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

// Settings are what the statements of a tenant run with: transaction-local, so that they
// end with the statement, or its transaction, whatever comes of it. They never change.
type Settings struct {
	names  []string        // in lower case, sorted
	params [][]byte        // name, value, name, value …
	own    bool            // one of them is PostgreSQL's own, which may change what a text means
	joined string          // the names
	part   pgwire.Prologue // what goes in front of a statement

	unnamed pgwire.Prologue // the same where names do not last
}

// maxSettings is how many With takes; so is the number of statements that set them.
const maxSettings = 64

// NewSettings checks what With was given. Values are in no error.
func NewSettings(given map[string]string, once bool) (*Settings, error) {
	s := &Settings{names: make([]string, 0, len(given))}
	values := make(map[string]string, len(given))
	var errs []error
	for name, value := range given {
		lower := strings.ToLower(name)
		_, twice := values[lower]
		why := refusedSettings[lower]
		if strings.HasPrefix(lower, "plpgsql.") {
			why = "a function that is compiled with it keeps it, for others too"
		}
		switch {
		case twice:
			errs = append(errs, fmt.Errorf("lmipool: With: setting %q is there twice, in lower and upper case", lower))
		case !settingName.MatchString(name) || len(name) > 63:
			errs = append(errs, fmt.Errorf("lmipool: With: %q is no name of a setting: want one like app.tenant, at most 63 bytes", shown(name)))
		case why != "":
			errs = append(errs, fmt.Errorf("lmipool: With: setting %q cannot be set here: %s", lower, why))
		case !utf8.ValidString(value) || strings.ContainsRune(value, 0):
			errs = append(errs, fmt.Errorf("lmipool: With: the value of %q is not UTF-8, or has a zero byte", lower))
		}
		values[lower] = value
		s.own = s.own || !strings.Contains(lower, ".")
	}
	switch {
	case len(given) == 0:
		errs = append(errs, errors.New("lmipool: With: no settings: want at least one"))
	case len(values) > maxSettings:
		errs = append(errs, fmt.Errorf("lmipool: With: %d settings: want at most %d", len(values), maxSettings))
	}
	if errs != nil {
		slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
		return nil, errors.Join(errs...)
	}
	s.names = slices.AppendSeq(s.names, maps.Keys(values))
	slices.Sort(s.names)
	for _, name := range s.names {
		s.params = append(s.params, []byte(name), []byte(values[name]))
	}
	s.joined = strings.Join(s.names, ",")
	s.part, s.unnamed = s.prefix(once), s.prefix(true)
	s.unnamed.Unnamed = s.alone()
	return s, nil
}

// shown is name, or the beginning of one that is long.
func shown(name string) string {
	const most = 80
	if len(name) <= most {
		return name
	}
	n := most
	for n > 0 && !utf8.RuneStart(name[n]) {
		n--
	}
	return name[:n] + "…"
}

// Values are what With was given, by the names in lower case.
func (s *Settings) Values() map[string]string {
	values := make(map[string]string, len(s.names))
	for i, name := range s.names {
		values[name] = string(s.params[2*i+1])
	}
	return values
}

var settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_$]*(?:\.[A-Za-z_][A-Za-z0-9_$]*)*$`)

// refusedSettings are those that With does not take, and why.
var refusedSettings = map[string]string{
	"session_authorization":         "it is the session's; role can be set",
	"transaction_isolation":         "it has to come first in a transaction: use BeginTx",
	"transaction_deferrable":        "it has to come first in a transaction: use BeginTx",
	"default_transaction_isolation": "the transaction has begun: use BeginTx", "default_transaction_deferrable": "the transaction has begun: use BeginTx",
	"default_transaction_read_only": "the transaction has begun: use transaction_read_only",
	"client_encoding":               "pgx speaks UTF-8",
	"standard_conforming_strings":   "pgx relies on it",
	"seed":                          "it lasts as long as the session",
	"exit_on_error":                 "it would end a session that is shared",
}

// prefix is what sets s in front of a flight. Its statement is prepared once for each
// connection, and with once each time, for where names do not last.
func (s *Settings) prefix(once bool) pgwire.Prologue {
	name := sqltext.StatementName("with", s.SQL()) // what it means hangs on no setting
	msgs, _ := (&pgproto3.Bind{PreparedStatement: name, Parameters: s.params}).Encode(nil)
	msgs, _ = (&pgproto3.Execute{}).Encode(msgs)
	p := pgwire.Prologue{Messages: msgs, Replies: 1, Name: name, Refused: s.Without, Prepare: func() []byte {
		b, _ := (&pgproto3.Close{ObjectType: 'S', Name: name}).Encode(nil) // no error if it is not there
		b, _ = (&pgproto3.Parse{Name: name, Query: s.SQL()}).Encode(b)
		return b
	}}
	if once {
		p.Name = ""
	}
	return p
}

// alone is what sets s, all in unnamed messages.
func (s *Settings) alone() []byte {
	b, _ := (&pgproto3.Parse{Query: s.SQL()}).Encode(nil)
	b, _ = (&pgproto3.Bind{Parameters: s.params}).Encode(b)
	b, _ = (&pgproto3.Execute{}).Encode(b)
	return b
}

// SQL is the statement that sets as many settings as s has. What they are is in its
// parameters.
func (s *Settings) SQL() string {
	var b strings.Builder
	b.WriteString("select ")
	for i := range s.names {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "pg_catalog.set_config($%d, $%d, true)", 2*i+1, 2*i+2)
	}
	return b.String()
}

// Prologue is what sets s in front of a flight. own: the session is the connection's alone, so that names last.
func (s *Settings) Prologue(own bool) *pgwire.Prologue {
	if own {
		return &s.part
	}
	return &s.unnamed
}

// Len is how many there are.
func (s *Settings) Len() int { return len(s.names) }

// Params are the parameters of SQL.
func (s *Settings) Params() [][]byte { return s.params }

// Without is err, of what sets s, without the values of s.
func (s *Settings) Without(err error) error {
	var values []string
	for i := 1; i < len(s.params); i += 2 {
		values = append(values, string(s.params[i]))
	}
	return pgerr.WithoutValues(err, values)
}

// Args is Params as arguments.
func (s *Settings) Args() []any {
	args := make([]any, len(s.params))
	for i, v := range s.params {
		args[i] = string(v)
	}
	return args
}

// Custom reports whether no setting is one of PostgreSQL's own: then what a text means
// does not hang on them, unless it asks for them.
func (s *Settings) Custom() bool { return s == nil || !s.own }

// Key is the names for the catalog.
func (s *Settings) Key() string {
	if s == nil {
		return ""
	}
	return s.joined
}

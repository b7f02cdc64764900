package session

import (
	"bytes"
	"slices"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/lmipool/lmipool/internal/pattern"
	"github.com/lmipool/lmipool/internal/pgwire"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// Heard is what the hooks of a dial have sent: AfterConnect and those of pgconn. A reset has to set again what they have set, but the server does not
// list a setting with a dot in its name unless an extension defines it. So the names of such settings are taken from what was sent: from SET, and from
// set_config with a literal. If names may be missing, after a DO or the user's own function, the session is closed instead of reset.
type Heard struct {
	names   []string // the names of settings that may have been set
	Queries []string // the texts whose functions have to be looked at
	draws   bool     // values of sequences may be left
	Unsure  string   // says why a setting may be missing in names; "" if none is missing
}

// Hear reads sent, the messages that the hooks have sent on pc. A prepared statement counts when it is bound, since it cannot have run before.
func Hear(sent []byte, pc *pgconn.PgConn) (s *Heard) {
	s = new(Heard)
	// standard_conforming_strings decides where a string with a backslash ends. It was on throughout if it is on now and was not mentioned.
	plain := pc.ParameterStatus("standard_conforming_strings") == "on" && !bytes.Contains(bytes.ToLower(sent), []byte("standard_conforming"))
	if pc.ParameterStatus("client_encoding") != "UTF8" && bytes.ContainsFunc(sent, func(r rune) bool { return r >= utf8.RuneSelf }) {
		s.Doubt("text that is not UTF-8")
	}
	prepared := map[string]string{}
	for len(sent) > 0 {
		kind, body, rest, whole := pgwire.Cut(sent)
		if sent = rest; !whole {
			s.Doubt("a message")
			break
		}
		decode := func(m interface{ Decode([]byte) error }) {
			if m.Decode(bytes.Clone(body)) != nil {
				s.Doubt("a message")
			}
		}
		switch kind {
		case 'Q':
			var m pgproto3.Query
			decode(&m)
			s.add(m.String, plain)
		case 'P':
			var m pgproto3.Parse
			decode(&m)
			prepared[m.Name] = m.Query
		case 'B':
			var m pgproto3.Bind
			decode(&m)
			s.add(prepared[m.PreparedStatement], plain)
			for _, p := range m.Parameters {
				if len(p) < 256 { // no name of a setting is longer
					s.names = append(s.names, string(p))
				}
			}
		case 'D', 'E', 'C', 'S', 'H', 'X':
		default: // a function call, COPY
			s.Doubt("a message that is no statement")
		}
	}
	s.names = slices.DeleteFunc(s.names, func(n string) bool { return !customSetting.RE().MatchString(n) || !utf8.ValidString(n) })
	slices.Sort(s.names)
	s.names = slices.Compact(s.names)
	return s
}

// customSetting matches the name of a setting with a dot in it. Its parts are identifiers that need no quotes, of letters of any language.
var customSetting = pattern.Lazy{Text: `^[A-Za-z_\x{80}-\x{10FFFF}][\w$\x{80}-\x{10FFFF}]*(\.[A-Za-z_\x{80}-\x{10FFFF}][\w$\x{80}-\x{10FFFF}]*)+$`}

func (s *Heard) add(sql string, plain bool) {
	is := sqltext.SetupOf(sql, plain)
	s.names, s.Queries = append(s.names, is.Settings...), append(s.Queries, is.Queries...)
	s.draws = s.draws || is.Draws
	if is.Unsure != "" {
		s.Doubt(is.Unsure)
	}
}

// Doubt notes why there may be settings whose names are not known.
func (s *Heard) Doubt(why string) {
	s.draws = true
	if s.Unsure == "" {
		s.Unsure = why
	}
}

package session

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/lmipool/lmipool/internal/sqltext"
)

// Heard is what the hooks of a connection that is being dialed have sent: AfterConnect, and those of pgconn. A reset has
// to set again what they have set. A setting with a dot in its name that no extension defines is in no list of the
// server's, in no version: so its name has to be in what was sent, for certain, or else the session is never reset but
// closed.
type Heard struct {
	names   []string // of settings, or what may be one
	Queries []string // whose functions have to be looked at
	draws   bool     // values of sequences may be left
	Unsure  string   // why there may be settings of other names; "" if not
}

// Hear reads what was sent on pc, message by message. What is prepared counts once it is bound: until then it has not run.
func Hear(sent []byte, pc *pgconn.PgConn) (s *Heard) {
	// Where a string with a backslash ends hangs on this setting. On at the end, and not spoken of, it was on throughout.
	s = new(Heard)
	plain := pc.ParameterStatus("standard_conforming_strings") == "on" && !bytes.Contains(bytes.ToLower(sent), []byte("standard_conforming"))
	if pc.ParameterStatus("client_encoding") != "UTF8" && bytes.ContainsFunc(sent, func(r rune) bool { return r >= utf8.RuneSelf }) {
		s.Doubt("text that is not UTF-8")
	}
	prepared := map[string]string{}
	for len(sent) >= 5 {
		n := 1 + int(binary.BigEndian.Uint32(sent[1:]))
		if n < 5 || n > len(sent) {
			break
		}
		kind, body := sent[0], bytes.Clone(sent[5:n])
		sent = sent[n:]
		switch kind {
		case 'Q':
			var m pgproto3.Query
			if m.Decode(body) != nil {
				s.Doubt("a message")
			}
			s.add(m.String, plain)
		case 'P':
			var m pgproto3.Parse
			if m.Decode(body) != nil {
				s.Doubt("a message")
			}
			prepared[m.Name] = m.Query
		case 'B':
			var m pgproto3.Bind
			if m.Decode(body) != nil {
				s.Doubt("a message")
			}
			s.add(prepared[m.PreparedStatement], plain)
			for _, p := range m.Parameters {
				if len(p) < maxSettingName {
					s.names = append(s.names, string(p))
				}
			}
		case 'D', 'E', 'C', 'S', 'H', 'X':
		default: // a function call, COPY
			s.Doubt("a message that is no statement")
		}
	}
	if len(sent) > 0 {
		s.Doubt("a message")
	}
	s.names = slices.DeleteFunc(s.names, func(n string) bool { return !customSetting(n) })
	slices.Sort(s.names)
	s.names = slices.Compact(s.names)
	return s
}

// maxSettingName bounds what is taken for the name of a setting in a parameter.
const maxSettingName = 256

// add adds a text that was run.
func (s *Heard) add(sql string, plain bool) {
	is := sqltext.SetupOf(sql, plain)
	s.names, s.Queries = append(s.names, is.Settings...), append(s.Queries, is.Queries...)
	s.draws = s.draws || is.Draws
	if is.Unsure != "" {
		s.Doubt(is.Unsure)
	}
}

// Doubt notes why there may be settings of other names.
func (s *Heard) Doubt(why string) {
	s.draws = true
	if s.Unsure == "" {
		s.Unsure = why
	}
}

// customSetting reports whether n may be the name of a setting with a dot in it: simple identifiers, of any letters.
func customSetting(n string) bool {
	parts := strings.Split(n, ".")
	for _, p := range parts {
		if p == "" || '0' <= p[0] && p[0] <= '9' || p[0] == '$' || strings.ContainsFunc(p, func(r rune) bool {
			return r < 0x80 && r != '_' && r != '$' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
		}) {
			return false
		}
	}
	return len(parts) > 1 && utf8.ValidString(n)
}

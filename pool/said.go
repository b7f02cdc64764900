package pool

import (
	"bytes"
	"context"
	"encoding/binary"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// said is what the hooks of a connection that is being dialed have sent: AfterConnect, and those of pgconn. A reset has
// to set again what they have set. A setting with a dot in its name that no extension defines is in no list of the
// server's, in no version: so its name has to be in what was sent, for certain, or else the session is never reset but
// closed.
type said struct {
	names   []string // of settings, or what may be one
	queries []string // whose functions have to be looked at
	draws   bool     // values of sequences may be left
	unsure  string   // why there may be settings of other names; "" if not
}

// hearing has c remember what hooks send, from next on, which is the first of them.
func (c *conn) hearing(next pgconn.ValidateConnectFunc) pgconn.ValidateConnectFunc {
	return func(ctx context.Context, pc *pgconn.PgConn) error {
		c.wire.Strayed()
		c.wire.Record() // of each host that is tried
		if next == nil {
			return nil
		}
		return next(ctx, pc)
	}
}

// heardAll is what they have sent; nil if there are none.
func (c *conn) heardAll() *said {
	sent, recorded := c.wire.Recorded()
	if !recorded {
		return nil
	}
	s := hear(sent, c.pg.PgConn())
	if c.wire.Strayed() {
		s.doubt("a batch in exec mode, or pgconn's ExecBatch")
	}
	return &s
}

// hear reads what was sent, message by message. What is prepared counts once it is bound: until then it has not run.
func hear(sent []byte, pc *pgconn.PgConn) (s said) {
	// Where a string with a backslash ends hangs on this setting. On at the end, and not spoken of, it was on throughout.
	plain := pc.ParameterStatus("standard_conforming_strings") == "on" && !bytes.Contains(bytes.ToLower(sent), []byte("standard_conforming"))
	if pc.ParameterStatus("client_encoding") != "UTF8" && bytes.ContainsFunc(sent, func(r rune) bool { return r >= utf8.RuneSelf }) {
		s.doubt("text that is not UTF-8")
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
				s.doubt("a message")
			}
			s.add(m.String, plain)
		case 'P':
			var m pgproto3.Parse
			if m.Decode(body) != nil {
				s.doubt("a message")
			}
			prepared[m.Name] = m.Query
		case 'B':
			var m pgproto3.Bind
			if m.Decode(body) != nil {
				s.doubt("a message")
			}
			s.add(prepared[m.PreparedStatement], plain)
			for _, p := range m.Parameters {
				if len(p) < maxSettingName {
					s.names = append(s.names, string(p))
				}
			}
		case 'D', 'E', 'C', 'S', 'H', 'X':
		default: // a function call, COPY
			s.doubt("a message that is no statement")
		}
	}
	if len(sent) > 0 {
		s.doubt("a message")
	}
	s.names = slices.DeleteFunc(s.names, func(n string) bool { return !customSetting(n) })
	slices.Sort(s.names)
	s.names = slices.Compact(s.names)
	return s
}

// maxSettingName bounds what is taken for the name of a setting in a parameter.
const maxSettingName = 256

// add adds a text that was run.
func (s *said) add(sql string, plain bool) {
	is := sqltext.SetupOf(sql, plain)
	s.names, s.queries = append(s.names, is.Settings...), append(s.queries, is.Queries...)
	s.draws = s.draws || is.Draws
	if is.Unsure != "" {
		s.doubt(is.Unsure)
	}
}

func (s *said) doubt(why string) {
	s.draws = true
	if s.unsure == "" {
		s.unsure = why
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

// untold are the queries of the hooks' of which it is not known yet whether a function in them sets something.
func (c *conn) untold() (doubts []*catalog.Statement) {
	for _, st := range c.asks {
		if l := st.Leaves(c.base); l.Trace >= sqltext.AnyTrace || l.Other && l.Trace >= sqltext.SessionTrace {
			doubts = append(doubts, st)
		}
	}
	return doubts
}

// told reports whether a reset has set again all that the hooks have set. If not, it is logged once.
func (c *conn) told() bool {
	left := c.untold()
	if len(left) == 0 {
		return true
	}
	c.p.cannotReset(cut(left[0].SQL, 80))
	return false
}

// cannotReset logs, once, that sessions are closed that could otherwise be reset, because AfterConnect runs what may set anything.
func (p *Pool) cannotReset(runs string) {
	p.closesBecause("AfterConnect runs what may set any setting", "set each by SET or set_config with a literal name, or in the connection string (options=-c app.x=y)", "runs", runs)
}

// closesBecause logs that, once, with what to do instead.
func (p *Pool) closesBecause(why, instead string, args ...any) {
	p.closesSessions.Do(func() {
		p.log.Warn("lmipool: "+why+", so a connection whose session a user has changed is closed instead of reset; "+instead, args...)
	})
}

package sqltext

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// Setup says what a text does to the settings of its session. It is for callers that need the name of each setting.
type Setup struct {
	Settings []string // settings with a dot in their name that it sets, or may set
	Queries  []string // its queries and changes of data, one text each: the functions that they call may set more
	Draws    bool     // it may leave values of sequences
	// Unsure says why the text may set others than Settings: the kind of statement, or the part that the scan does not understand. Else it is "".
	Unsure string
}

// SetupOf scans a text of one statement or several. If plain is true, standard_conforming_strings is known to be on, so a backslash in a string without
// E is allowed, and escapes nothing.
func SetupOf(sql string, plain bool) (s Setup) {
	statements, refused := split(sql, plain)
	if refused != "" {
		return Setup{Unsure: refused, Draws: true}
	}
	for _, one := range statements {
		s.add(one)
	}
	return s
}

// piece is one statement of a text.
type piece struct {
	tokens
	text string
}

// split cuts a text into its statements. plain is the same as in SetupOf.
func split(sql string, plain bool) (pieces []piece, refused string) {
	if !utf8.ValidString(sql) || strings.Contains(sql, "\x00") {
		return nil, "encoding"
	}
	l := lexer{text: sql, plain: plain}
	for l.space() {
		from, p := l.at, piece{}
		for l.refused == "" && l.space() {
			t := l.token()
			if t.is(";") {
				break
			}
			p.tokens, p.text = append(p.tokens, t), l.text[from:l.at]
		}
		if l.refused != "" {
			return nil, l.refused
		}
		if len(p.tokens) > 0 {
			pieces = append(pieces, p)
		}
	}
	return pieces, l.refused
}

// add adds one statement.
func (s *Setup) add(p piece) {
	trace, asks, _ := session(p.tokens)
	first := p.tokens[0]
	switch {
	case asks:
		s.Queries = append(s.Queries, p.text)
		s.query(p.tokens)
	case first.word("load"), first.word("discard", "deallocate"): // LOAD sets no setting, and package session finds out what DISCARD and DEALLOCATE leave
	case trace >= AnyTrace && trace != PreparedTrace:
		s.Unsure, s.Draws = first.text, true
		if s.Unsure == "" {
			s.Unsure = "a statement that is no command"
		}
	case first.word("set"):
		if name := dotted(p.tokens[1:]); name != "" {
			s.Settings = append(s.Settings, name)
		}
	}
}

// query adds what a query or a change of data names.
func (s *Setup) query(ts tokens) {
	for i, t := range ts {
		s.Draws = s.Draws || t.name() && (t.text == "nextval" || t.text == "setval") || t.word("insert", "update", "merge", "delete")
		if !t.name() || t.text != "set_config" || !ts.at(i+1).is("(") {
			continue
		}
		switch arg, end := ts.at(i+2), i+3; {
		case arg.kind == literal && arg.text != "", arg.kind == param:
			if ts.at(end).is("::") && ts.at(end+1).word("text") {
				end += 2
			}
			if !ts.at(end).is(",") {
				s.Unsure = "set_config of a name that is put together"
			} else if arg.kind == literal {
				s.Settings = append(s.Settings, arg.text)
			}
		default:
			s.Unsure = "set_config of a name that is put together"
		}
	}
}

// dotted returns the name of the setting that SET sets. ts has the tokens behind SET.
func dotted(ts tokens) (name string) {
	if len(ts) > 1 && ts[0].word("session", "local") && ts[1].name() {
		ts = ts[1:]
	}
	end := slices.IndexFunc(ts, func(t token) bool { return t.is("=") || t.word("to") })
	if end < 1 {
		return ""
	}
	for _, t := range ts[:end] {
		if !t.name() && !t.is(".") {
			return ""
		}
		name += t.text
	}
	return name
}

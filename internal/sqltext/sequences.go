package sqltext

import "strings"

// Sequences is what a statement does with the values of sequences that its session has, judged by its text alone.
type Sequences struct {
	// Reads is true if it names currval or lastval, which return what nextval returned before in the session.
	Reads bool
	// Draws is true if it may call nextval or setval: it names one of them, or it changes data, and a column's default may call them. Draws does
	// not say whether other functions that it calls draw.
	Draws bool
	// Steady is true if it draws from the same sequences each time that it succeeds, provided that Table is "" or the defaults of that table are
	// steady too. Then it overwrites all values that another invocation has left with the same text.
	Steady bool
	Table  string // the table of an INSERT, with its names quoted; "" for other statements
	// Moves is true if it sets something, so that the same names may mean other sequences afterwards.
	Moves  bool
	Begins bool // it is BEGIN
}

// SequencesOf scans one statement.
func SequencesOf(sql string) Sequences {
	everything := Sequences{Reads: true, Draws: true, Moves: true}
	ts, refused := lex(sql)
	if refused == "" {
		ts, refused = oneStatement(ts)
	}
	if refused != "" {
		return everything
	}
	s, named := Sequences{}, false
	for _, t := range ts {
		s.Reads = s.Reads || t.name() && (t.text == "currval" || t.text == "lastval")
		named = named || t.name() && (t.text == "nextval" || t.text == "setval")
		s.Moves = s.Moves || t.name() && t.text == "set_config"
		s.Draws = s.Draws || named || t.word("insert", "update", "merge", "delete")
	}
	switch {
	case len(ts) == 0:
	case ts[0].word("set", "reset"):
		s.Moves = true
	case ts[0].word("begin", "start"):
		s.Begins = true
	case named:
		s.Steady = onlyNextval(ts)
	case ts[0].word("insert"):
		s.Table = insertsValues(ts)
		s.Steady = s.Table != ""
	}
	return s
}

// onlyNextval reports whether ts is SELECT nextval('…'), with or without a cast to regclass.
func onlyNextval(ts tokens) bool {
	texts := make([]string, 0, len(ts))
	for _, t := range ts {
		switch {
		case t.kind == quoted, t.kind == param:
			return false
		case t.kind == literal && t.text == "":
			return false
		case t.kind == literal:
			texts = append(texts, "''")
		default:
			texts = append(texts, t.text)
		}
	}
	switch strings.Join(texts, " ") {
	case "select nextval ( '' )", "select nextval ( '' :: regclass )", "select pg_catalog . nextval ( '' )":
		return true
	}
	return false
}

// insertsValues returns the table of INSERT INTO table … VALUES … [ON CONFLICT …] [RETURNING …] or DEFAULT VALUES, or "" if ts is something
// else, or may draw from a sequence for some rows only. ON CONFLICT does no harm: the defaults of a row are computed before PostgreSQL looks for a
// conflict.
func insertsValues(ts tokens) (table string) {
	if !ts.at(1).word("into") {
		return ""
	}
	var name strings.Builder
	at := 2
	for ; ts.at(at).name() || ts.at(at).is("."); at++ {
		if ts[at].word("default", "values", "overriding", "as") {
			break
		}
		if ts[at].is(".") {
			name.WriteByte('.')
		} else {
			name.WriteString(`"` + strings.ReplaceAll(ts[at].text, `"`, `""`) + `"`)
		}
	}
	values, conflict := false, false
	for _, t := range ts[at:] {
		values, conflict = values || t.word("values"), conflict || t.word("conflict")
		if t.word("select", "with") || conflict && t.word("default") {
			return ""
		}
	}
	if !values {
		return ""
	}
	return name.String()
}

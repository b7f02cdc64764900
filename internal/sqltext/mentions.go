package sqltext

import (
	"slices"
	"strings"
)

// Mentions is what a text names that may be code of the user's own, or lead to some. It does not say what each name means, since that would need a
// parser: whoever uses it has to ask the catalogs about everything that a name may mean.
type Mentions struct {
	// Called has every name in front of a parenthesis, whatever the parenthesis is for.
	Called []string
	// Dotted has every name that stands behind a dot and not in front of a parenthesis. t.f may mean f(t); so may (row).f, t.arr[1].f and $1.f.
	Dotted []string
	// Names has what may be a relation or a type: every name, and each a.b.
	Names []Name
	// Written has the tables of INSERTs, MERGEs, and UPDATEs with DEFAULT. Changed has the tables of other UPDATEs and of DELETEs. Both include
	// statements inside WITH.
	Written, Changed []Name
	// Operators has every run of operator characters, and the operators that keywords stand for. White space between the characters is left out. So
	// each operator of the text is a part of one of these.
	Operators []string
}

// Name is the name of a relation or type, folded where it was not quoted. If the text gives no schema, Schema is "", and PostgreSQL takes the first
// one of that name in search_path.
type Name struct{ Schema, Name string }

// operatorsOf returns the operators that a keyword may stand for. PostgreSQL looks them up in search_path, like operators that are written out. So a
// user's own operator = for varchar runs in IN, USING, CASE and so on.
func operatorsOf(keyword string) []string {
	switch keyword {
	case "in", "distinct", "cycle":
		return []string{"=", "<>"}
	case "using", "natural", "nullif", "case", "merge":
		return []string{"="}
	case "between":
		return []string{"<", ">", "<=", ">="}
	case "like":
		return []string{"~~", "!~~"}
	case "ilike":
		return []string{"~~*", "!~~*"}
	case "similar":
		return []string{"~", "!~"}
	}
	return nil
}

// Mention returns what sql mentions. It returns false if lex refuses the text.
func Mention(sql string) (Mentions, bool) {
	ts, refused := lex(sql)
	if refused != "" {
		return Mentions{}, false
	}
	return mention(ts), true
}

// mention returns what the text of ts mentions.
func mention(ts tokens) (m Mentions) {
	// chain returns the name that begins at i, with its schema if it has one. Of a.b.c it returns b.c, since a can only be the database.
	chain := func(i int) (n Name, ok bool) {
		for ts.at(i).word("only") || ts.at(i).is("(") {
			i++
		}
		if !ts.at(i).name() {
			return n, false
		}
		n.Name = ts.at(i).text
		for ts.at(i+1).is(".") && ts.at(i+2).name() {
			i += 2
			n = Name{n.Name, ts.at(i).text}
		}
		return n, true
	}
	run, defaults, locks := "", false, false
	for i, t := range ts {
		defaults = defaults || t.word("default")
		if t.kind == symbol && t.text != "" && isOperator(t.text[0]) {
			run += t.text
			continue
		}
		if run != "" {
			m.Operators = append(m.Operators, run)
			run = ""
		}
		if !t.name() {
			continue
		}
		if ts.at(i + 1).is("(") {
			m.Called = append(m.Called, t.text)
		}
		if t.kind == word {
			m.Operators = append(m.Operators, operatorsOf(t.text)...)
		}
		switch {
		case ts.at(i - 1).is("."):
			if !ts.at(i + 1).is("(") { // a.f(…) calls f of the schema a
				m.Dotted = append(m.Dotted, t.text)
				m.Names = append(m.Names, Name{Name: t.text}) // (1).f may also be a conversion to the type f
			}
			if ts.at(i - 2).name() {
				m.Names = append(m.Names, Name{ts.at(i - 2).text, t.text})
			}
		case t.kind == quoted || !reserved.has(t.text):
			m.Names = append(m.Names, Name{Name: t.text})
		}
		switch {
		case t.word("into") && ts.at(i-1).word("insert", "merge"):
			if n, ok := chain(i + 1); ok {
				m.Written = append(m.Written, n)
			}
		case t.word("for") && (ts.at(i+1).word("update", "share") || ts.at(i+1).word("no", "key")): // the policies for UPDATE apply
			locks = true
		case t.word("update") && (!ts.at(i+1).word("set") || ts.at(i+2).word("set")) && (!ts.at(i-1).word("for", "key") || !endsLock(ts.at(i+1))),
			t.word("from") && ts.at(i-1).word("delete"):
			if n, ok := chain(i + 1); ok {
				m.Changed = append(m.Changed, n)
			}
		}
	}
	if run != "" {
		m.Operators = append(m.Operators, run)
	}
	if locks {
		m.Changed = append(m.Changed, m.Names...)
	}
	if defaults { // UPDATE … SET a = DEFAULT
		m.Written, m.Changed = append(m.Written, m.Changed...), nil
	}
	for _, s := range []*[]string{&m.Called, &m.Dotted, &m.Operators} {
		slices.Sort(*s)
		*s = slices.Compact(*s)
	}
	for _, s := range []*[]Name{&m.Names, &m.Written, &m.Changed} {
		slices.SortFunc(*s, func(a, b Name) int {
			return strings.Compare(a.Schema+"\x00"+a.Name, b.Schema+"\x00"+b.Name)
		})
		*s = slices.Compact(*s)
	}
	return m
}

// endsLock reports whether t may follow FOR UPDATE where that locks rows. Otherwise a cursor's statement begins with UPDATE.
func endsLock(t token) bool {
	return t.kind == symbol || t.word("of", "nowait", "skip", "for", "limit", "offset", "loop", "union", "intersect", "except", "into")
}

// And returns what m or o mentions.
func (m Mentions) And(o *Mentions) Mentions {
	return Mentions{
		Called: slices.Concat(m.Called, o.Called), Dotted: slices.Concat(m.Dotted, o.Dotted), Operators: slices.Concat(m.Operators, o.Operators),
		Names: slices.Concat(m.Names, o.Names), Written: slices.Concat(m.Written, o.Written), Changed: slices.Concat(m.Changed, o.Changed),
	}
}

// In returns m, in which each name without a schema is also there with each of schemas.
func (m Mentions) In(schemas []string) Mentions {
	for _, names := range []*[]Name{&m.Names, &m.Written, &m.Changed} {
		all := slices.Clip(*names)
		for _, n := range *names {
			for _, s := range schemas {
				if n.Schema == "" {
					all = append(all, Name{s, n.Name})
				}
			}
		}
		*names = all
	}
	return m
}

// HasOperator reports whether the text may use the operator op.
func (m *Mentions) HasOperator(op string) bool {
	return slices.ContainsFunc(m.Operators, func(run string) bool { return strings.Contains(run, op) })
}

// reserved has the keywords that are no relation's or type's name, unless quoted, in any version from 14 to 18.
var reserved = words{
	"all", "analyse", "analyze", "and", "any", "array", "as", "asc", "asymmetric", "both", "case", "cast", "check", "collate", "column",
	"constraint", "create", "current_catalog", "current_date", "current_role", "current_time", "current_timestamp", "current_user", "default",
	"deferrable", "desc", "distinct", "do", "else", "end", "except", "false", "fetch", "for", "foreign", "from", "grant", "group", "having", "in",
	"initially", "intersect", "into", "lateral", "leading", "limit", "localtime", "localtimestamp", "not", "null", "offset", "on", "only", "or",
	"order", "placing", "primary", "references", "returning", "select", "session_user", "some", "symmetric", "table", "then", "to", "trailing",
	"true", "union", "unique", "user", "using", "variadic", "when", "where", "window", "with",
}

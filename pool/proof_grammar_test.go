package pool_test

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
)

// A production says how a piece of SQL of one type is made of others. In its text stand holes:
//
//	«int»      an expression of that type; «any» is one of a type that can be compared, the same in the whole text
//	«any^»     the same, and no literal, for what ORDER BY and GROUP BY would take for a column's number
//	«int!»     one that needs nothing of what stands around it
//	«from»     what the expressions in the other holes need to stand in FROM
//	«@t»       the alias of the table t, which «from» has to bring, here or further out
//	«~f»       the name of a function, spelled in one of many ways; «~.f» without a schema
//	«$int»     a parameter
//	«.a»       a name that is new
type production struct {
	typ, sql string
	since    int // the first version of PostgreSQL that has it; 0: all
}

// piece is SQL of one type, and the FROM items that it needs.
type piece struct {
	sql, typ string
	needs    []string
}

// anyTypes are what «any» may stand for, besides the types of what is planted.
var anyTypes = []string{"int", "int", "text", "text", "bool", "ts", "num", "arr", "json", "mood", "row", "pair"}

var grammarHole = regexp.MustCompile(`«([^«»]+)»`)

// grammar makes statements by chance. The same chance makes the same ones.
type grammar struct {
	*rand.Rand
	version     int
	productions []production        // those of this version
	byType      map[string][]int    // productions that make this type
	terminals   map[string][]string // what a type begins with
	names       int                 // that were made up
	used        map[int]bool        // productions that the plant has gone through
	takers      map[string][]int    // productions that take this type
}

func newGrammar(version int, terminals map[string][]string, writes bool) *grammar {
	g := &grammar{version: version, byType: make(map[string][]int), takers: make(map[string][]int), terminals: terminals}
	for _, p := range append(slices.Clip(contexts), writeContexts...) {
		if p.since <= version && p.typ != map[bool]string{true: "stmt", false: "write"}[writes] {
			g.byType[p.typ] = append(g.byType[p.typ], len(g.productions))
			g.productions = append(g.productions, p)
		}
	}
	return g
}

// seed begins anew: statement i of a seed is always the same.
func (g *grammar) seed(seed, i uint64) {
	g.Rand, g.names, g.used = rand.New(rand.NewPCG(seed, i)), 0, make(map[int]bool)
}

// fill makes an expression with nothing planted in it.
func (g *grammar) fill(typ string, depth int, literals bool) piece {
	if all := g.terminals[typ]; len(all) > 0 && (depth <= 0 || g.IntN(10) < 6 || len(g.byType[typ]) == 0) {
		for {
			text := all[g.IntN(len(all))]
			if literals || strings.Contains(text, "«@") {
				return g.expand(production{typ: typ, sql: text}, nil, 0)
			}
		}
	}
	all := g.byType[typ]
	return g.expand(g.productions[all[g.IntN(len(all))]], nil, depth-1)
}

// takes reports whether p has a hole for an expression of this type.
func (p production) takes(typ string) bool {
	for _, m := range grammarHole.FindAllStringSubmatch(p.sql, -1) {
		if what := strings.TrimRight(m[1], "!^"); what == typ || what == "any" && typ != "stmt" && typ != "write" && typ[0] != 'q' {
			return true
		}
	}
	return false
}

// wrap puts e into a production that takes it, by chance one that makes typ, or any if that is "".
func (g *grammar) wrap(e piece, typ string) (piece, bool) {
	if g.takers[e.typ] == nil {
		for i, p := range g.productions {
			if p.takes(e.typ) {
				g.takers[e.typ] = append(g.takers[e.typ], i)
			}
		}
	}
	var fit []int
	for _, i := range g.takers[e.typ] {
		if p := g.productions[i]; typ == "" && p.typ != "stmt" && p.typ != "write" || typ == p.typ {
			fit = append(fit, i)
		}
	}
	if len(fit) == 0 {
		return e, false
	}
	return g.around(fit[g.IntN(len(fit))], e), true
}

// around puts e into production i.
func (g *grammar) around(i int, e piece) piece {
	g.used[i] = true
	return g.expand(g.productions[i], &e, 2)
}

// expand fills the holes of p; planted goes into one that takes it.
func (g *grammar) expand(p production, planted *piece, depth int) piece {
	holes := grammarHole.FindAllStringSubmatch(p.sql, -1)
	some := anyTypes[g.IntN(len(anyTypes))]
	at := -1
	if planted != nil {
		var fit []int
		for i, m := range holes {
			switch what := strings.TrimRight(m[1], "!^"); what {
			case "any":
				some = planted.typ
				fit = append(fit, i)
			case planted.typ:
				fit = append(fit, i)
			}
		}
		at = fit[g.IntN(len(fit))]
		if strings.HasPrefix(holes[at][1], "any") { // the others are of the planted type
			some = planted.typ
		} else if strings.Contains(p.sql, "«any") {
			some = anyTypes[g.IntN(len(anyTypes))]
		}
	}
	made := make(map[string]string)
	froms := scopes(p.sql)
	brings := make(map[int][]string) // what each «from» has to bring; under -1 what is left to those around
	i := -1
	sql := grammarHole.ReplaceAllStringFunc(p.sql, func(string) string {
		i++
		what := holes[i][1]
		need := func(tables ...string) { brings[froms[i]] = append(brings[froms[i]], tables...) }
		switch {
		case what == "from":
			return fmt.Sprintf("«from%d»", i)
		case what[0] == '@':
			need(what[1:])
			return "a_" + what[1:]
		case what[0] == '~':
			return g.spell(what[1:])
		case what[0] == '$':
			return "«$" + what[1:] + "»"
		case what[0] == '.':
			if made[what] == "" {
				g.names++
				made[what] = fmt.Sprintf("%s%d", what[1:], g.names)
			}
			return made[what]
		}
		var e piece
		if i == at {
			e = *planted
		} else {
			typ := strings.TrimRight(what, "!^")
			if typ == "any" {
				typ = some
			}
			e = g.fill(typ, depth, !strings.HasSuffix(what, "^"))
		}
		if strings.HasSuffix(what, "!") {
			e = g.closed(e)
		}
		need(e.needs...)
		if e.typ[0] != 'q' && !atom(e.sql) {
			return "(" + e.sql + ")"
		}
		return e.sql
	})
	for i, m := range holes {
		if m[1] == "from" {
			sql = strings.Replace(sql, fmt.Sprintf("«from%d»", i), g.from(sortedUnique(brings[i])), 1)
		}
	}
	return piece{sql: sql, typ: p.typ, needs: sortedUnique(brings[-1])}
}

// atom reports whether an expression binds as closely as any: a name, a string, a call, or all of it in parentheses.
func atom(sql string) bool {
	if plainName.MatchString(sql) {
		return true
	}
	rest := leadingName.ReplaceAllString(sql, "")
	if rest == "" || rest[0] != '(' {
		return false
	}
	depth, quote := 0, byte(0)
	for i := range len(rest) {
		switch c := rest[i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case c == '(':
			depth++
		case c == ')':
			if depth--; depth == 0 {
				return i == len(rest)-1
			}
		}
	}
	return false
}

var (
	plainName   = regexp.MustCompile(`^(?:[\w.]+|'[^']*')$`)
	leadingName = regexp.MustCompile(`^[a-z_0-9.]+`)
)

func sortedUnique(s []string) []string {
	slices.Sort(s)
	return slices.Compact(s)
}

// scopes finds for each hole of a text the «from», by its number among the holes, that brings what it needs: that of the closest
// parentheses around it which have one. -1: there is none.
func scopes(sql string) []int {
	spans := grammarHole.FindAllStringSubmatchIndex(sql, -1)
	around := make([][]int, len(spans)) // the parentheses around each hole, by where they open
	next := 0
	open := []int{-1}
	for at := range len(sql) {
		if next < len(spans) && at == spans[next][0] {
			around[next] = slices.Clone(open)
			next++
		}
		switch sql[at] {
		case '(':
			open = append(open, at)
		case ')':
			if len(open) > 1 {
				open = open[:len(open)-1]
			}
		}
	}
	found := make([]int, len(spans))
	for i := range spans {
		found[i] = -1
		for depth := len(around[i]) - 1; depth >= 0 && found[i] < 0; depth-- {
			best := 1 << 20
			for k, s := range spans { // of several, as in UNION, the next behind it, else the last before
				if sql[s[2]:s[3]] == "from" && around[k][len(around[k])-1] == around[i][depth] {
					if found[i] < 0 || k > i && best > k {
						found[i] = k
					}
					if k > i {
						best = min(best, k)
					} else {
						found[i] = k
					}
				}
			}
		}
	}
	return found
}

// closed is e with all that it needs inside.
func (g *grammar) closed(e piece) piece {
	if len(e.needs) > 0 {
		if strings.HasPrefix(e.typ, "q") {
			g.names++
			e.sql = fmt.Sprintf("select l%[1]d.x from %[2]s, lateral (%[3]s) l%[1]d(x)", g.names, g.from(e.needs), e.sql)
		} else {
			e.sql = fmt.Sprintf("(select %s from %s limit 1)", e.sql, g.from(e.needs))
		}
		e.needs = nil
	}
	return e
}

// from is what stands behind FROM to bring what is needed.
func (g *grammar) from(needs []string) string {
	if len(needs) == 0 {
		needs = []string{"t1"}
	}
	var b strings.Builder
	for i, table := range needs {
		item := table + []string{" a_", " as a_", ` as "A_`}[g.IntN(2)] + table
		if g.IntN(8) == 0 {
			item = "public." + item
		}
		if i == 0 {
			b.WriteString(item)
			continue
		}
		b.WriteString([]string{", " + item, " cross join " + item, " join " + item + " on true", " left join " + item + " on 1 = 1"}[g.IntN(4)])
	}
	return b.String()
}

// spell writes a function's name in one of the ways that mean the same. Behind a dot, which a name that begins with one
// asks for, there can be no schema.
func (g *grammar) spell(name string) string {
	bare := strings.HasPrefix(name, ".")
	name = strings.TrimPrefix(name, ".")
	schema := ""
	if s, n, ok := strings.Cut(name, "."); ok {
		schema, name = s+".", n
	} else if !bare && g.IntN(5) == 0 {
		schema = []string{"public.", `"public".`, "public . ", `PUBLIC/* ( */.`}[g.IntN(4)]
	}
	switch g.IntN(8) {
	case 0:
		name = `"` + name + `"`
	case 1:
		name = strings.ToUpper(name[:1]) + name[1:]
	case 2:
		name = fmt.Sprintf(`U&"\%04x%s"`, name[0], name[1:])
	case 3:
		name = fmt.Sprintf(`U&"!%04x%s" uescape '!'`, name[0], name[1:])
	}
	return schema + name + []string{"", "", "", "", " ", "/**/", "\n", "--(\n"}[g.IntN(8)]
}

// parameterHole is a hole for a parameter in a statement that is complete otherwise.
var parameterHole = regexp.MustCompile(`«\$(\w+)»`)

// parameterValues are what parameters have.
var parameterValues = map[string]string{
	"int": "1", "text": "a", "bool": "t", "ts": "2024-01-02", "num": "1.5", "arr": "{1,2}", "json": `{"a":1}`, "mood": "ok",
	"comp": "(1,x)", "dom": "5", "vc": "a", "enum": "lo",
}

// finish numbers the parameters of a statement, or puts their values there.
func finish(sql string, literal bool) (text string, args []string) {
	text = parameterHole.ReplaceAllStringFunc(sql, func(m string) string {
		value, ok := parameterValues[parameterHole.FindStringSubmatch(m)[1]]
		if !ok {
			panic("no value for " + m)
		}
		if literal {
			return "'" + value + "'"
		}
		args = append(args, value)
		return fmt.Sprintf("$%d", len(args))
	})
	return text, args
}

// dress changes what a reader would skip: blanks, comments, the case of words.
func (g *grammar) dress(sql string) string {
	if g.IntN(4) > 0 {
		return sql
	}
	var b strings.Builder
	quote := byte(0)
	for i := range len(sql) {
		c := sql[i]
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '\'' || c == '"':
			quote = c
		case c == '-' && i+1 < len(sql) && sql[i+1] == '-' || c == '/' && i+1 < len(sql) && sql[i+1] == '*':
			b.WriteString(sql[i:]) // a comment of somebody else's: the rest stays
			return b.String()
		case c == ' ' && g.IntN(12) == 0:
			b.WriteString([]string{"\n", "\t", " /* '(\" */ ", " -- ;'\n", "  /* /* nested */ $1 */"}[g.IntN(5)])
			continue
		case 'a' <= c && c <= 'z' && g.IntN(30) == 0:
			c -= 'a' - 'A'
		}
		b.WriteByte(c)
	}
	return b.String()
}

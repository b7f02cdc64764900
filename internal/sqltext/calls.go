package sqltext

import (
	"slices"
	"strings"

	"github.com/lmipool/lmipool/internal/pattern"
)

// calls finds the functions that a text calls: every name in front of a parenthesis, unless that parenthesis certainly has another purpose. The
// slices have one element for each token.
type calls struct {
	Statement
	tokens
	partner []int  // of a bracket: the index of its other half
	call    []bool // of an opening parenthesis: whether it holds a function's arguments, or belongs to the call's FILTER or WITHIN GROUP
	cte     []bool // of a name: whether WITH defines it here
}

// find adds the functions of one text. It does nothing if a text was refused before.
func (c *calls) find(ts tokens) {
	if c.Refused != "" {
		return
	}
	c.tokens = ts
	if !c.pair() {
		c.Refused = "unbalanced parentheses"
		return
	}
	c.call, c.cte = make([]bool, len(ts)), make([]bool, len(ts))
	c.findCTEs()
	for i := range ts {
		switch {
		case c.at(i).is("("):
			c.parenthesis(i)
		case c.at(i).word("current_schema") && !c.at(i+1).is("("):
			c.add(Function{Name: "current_schema"}) // this function needs no parentheses, and may create the schema of temporary tables
		}
	}
}

func (c *calls) add(f Function) {
	if !slices.Contains(c.Functions, f) {
		c.Functions = append(c.Functions, f)
	}
}

func (c *calls) refuse(why string) {
	if c.Refused == "" {
		c.Refused = why
	}
}

// pair finds the partners of all brackets, and reports whether each has one.
func (c *calls) pair() bool {
	c.partner = make([]int, len(c.tokens))
	var open []int
	for i, t := range c.tokens {
		switch {
		case t.is("("), t.is("["):
			open = append(open, i)
		case t.is(")"), t.is("]"):
			if len(open) == 0 {
				return false
			}
			last := open[len(open)-1]
			if c.tokens[last].is("(") != t.is(")") {
				return false
			}
			open = open[:len(open)-1]
			c.partner[last], c.partner[i] = i, last
		}
	}
	return len(open) == 0
}

// findCTEs marks the names that a WITH defines: WITH [RECURSIVE] name [(columns)] AS [[NOT] MATERIALIZED] (…), …
// It stops where a clause goes on in another way (SEARCH, CYCLE): later names of that WITH count as calls.
func (c *calls) findCTEs() {
	for i, t := range c.tokens {
		if !t.word("with") || i > 0 && !c.at(i-1).is("(") {
			continue
		}
		i++
		if c.at(i).word("recursive") {
			i++
		}
		for c.at(i).name() {
			name := i
			i++
			if c.at(i).is("(") {
				i = c.partner[i] + 1
			}
			if !c.at(i).word("as") {
				break
			}
			i++
			if c.at(i).word("not") {
				i++
			}
			if c.at(i).word("materialized") {
				i++
			}
			if !c.at(i).is("(") {
				break
			}
			c.cte[name] = true
			i = c.partner[i] + 1
			if !c.at(i).is(",") {
				break
			}
			i++
		}
	}
}

// parenthesis adds the function that the opening parenthesis at i calls, if it calls one.
func (c *calls) parenthesis(i int) {
	last := i - 1
	if !c.at(last).name() {
		return
	}
	first := last
	for c.at(first-1).is(".") && c.at(first-2).name() {
		first -= 2
	}
	dotted := c.at(first - 1).is(".") // (x).f(…), x[1].f(…)
	if first == last && !dotted && (c.at(last).kind == word && c.syntax(i, last) || c.cte[last]) {
		return
	}
	// The name behind AS is an alias, a CTE or a type; the name behind :: is a type with a modifier.
	if before := c.at(first - 1); before.is("::") || before.word("as") && !c.at(first-2).is(".") {
		return
	}
	if c.at(first-1).word("into") && c.at(first-2).word("insert") { // a table and its columns
		return
	}
	c.call[i] = true
	f := Function{Name: c.at(last).text}
	if end := c.partner[i]; f.Name == "set_config" {
		f.Local = c.at(end-1).word("true") && c.at(end-2).is(",")
		// For some settings it is not enough that they end with the transaction.
		switch name, known := c.setting(i + 1); {
		case known && strings.EqualFold(name, "seed"):
			f = Function{Schema: f.Schema, Name: "setseed"}
		case !known, !keepsMeaning(name):
			f.Local = false
		}
	}
	f.Custom = f.Name == "current_setting" && c.customSetting(i+1)
	switch (last - first) / 2 {
	case 0:
		c.add(f)
	case 1:
		f.Schema = c.at(first).text
		c.add(f)
	default:
		c.refuse("three-part name")
	}
}

// customSetting reports whether the argument at i is certainly the name of a setting with a dot in it.
func (c *calls) customSetting(i int) bool {
	if t := c.at(i); t.kind != literal || !custom.RE().MatchString(t.text) {
		return false
	}
	if c.at(i+1).is("::") && c.at(i+2).word("text") {
		i += 2
	}
	return c.at(i+1).is(",") || c.at(i+1).is(")")
}

var custom = pattern.Lazy{Text: `^[A-Za-z_][A-Za-z0-9_$]*(?:\.[A-Za-z_][A-Za-z0-9_$]*)+$`}

// syntax reports whether the unquoted word at w, in front of the parenthesis at i, is a part of the grammar there and cannot be a function. Most of
// these words can be a function elsewhere.
func (c *calls) syntax(i, w int) bool {
	before, after := c.at(w-1), c.at(i+1)
	switch text := c.at(w).text; text {
	case "filter": // (WHERE …)
		c.call[i] = after.word("where")
		return c.call[i]
	case "group": // WITHIN GROUP (…)
		c.call[i] = before.word("within")
		return true
	case "over": // a window, if a call precedes it; in DISTINCT ON (x) over (y) it is a function
		return before.is(")") && c.call[c.partner[w-1]]
	case "by":
		return before.word("order", "group", "partition")
	case "first", "next":
		return before.word("fetch")
	case "sets":
		return before.word("grouping")
	case "cube", "rollup":
		return before.word("by") && c.at(w-2).word("group")
	case "zone": // AT TIME ZONE (…)
		return before.word("time")
	case "materialized":
		return before.word("not") && c.at(w-2).word("as")
	case "varying":
		return before.word("character", "char", "nchar", "bit")
	case "join":
		return before.word("left", "right", "full", "inner", "outer", "cross", "natural") ||
			after.word("select", "with") || after.word("values") && c.at(i+2).is("(")
	case "conflict": // ON CONFLICT (…) DO; a join ON conflict (…) has no DO behind it
		return before.word("on") && c.at(c.partner[i]+1).word("do")
	case "operator":
		if !c.builtinOperator(i) {
			c.refuse("operator")
		}
		return true
	default:
		return notCalled.has(text)
	}
}

// builtinOperator reports whether the parenthesis at i holds an operator of pg_catalog, as in OPERATOR (pg_catalog.+).
func (c *calls) builtinOperator(i int) bool {
	end := c.partner[i]
	if end-i < 4 || !c.at(i+1).name() || c.at(i+1).text != "pg_catalog" || !c.at(i+2).is(".") {
		return false
	}
	for _, t := range c.tokens[i+3 : end] {
		if t.kind != symbol || t.text == "" || !isOperator(t.text[0]) {
			return false
		}
	}
	return true
}

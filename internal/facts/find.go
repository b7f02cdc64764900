package facts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lmipool/lmipool/internal/sqltext"
)

// find asks the server for all that w lists, and for the types and functions that the answers name.
func find(ctx context.Context, ask Ask, w wanted) (*known, error) {
	k := &known{asked: time.Now(), functions: map[string]*functionFact{}, names: map[nameKey]*nameFact{}, nodes: map[node]*nodeFact{}}
	if w.global {
		if err := k.resolveGlobal(ctx, ask); err != nil {
			return nil, err
		}
	}
	if err := k.resolveFunctions(ctx, ask, w.functions); err != nil {
		return nil, err
	}
	for _, f := range k.functions {
		w.types = append(w.types, f.types...)
	}
	if err := k.resolveNodes(ctx, ask, w.names, w.types); err != nil {
		return nil, err
	}
	var more []string // functions that expressions call and that may belong to an extension
	for _, n := range k.nodes {
		for _, call := range n.call {
			if !call.Harmless() && k.functions[call.Name] == nil {
				more = append(more, call.Name)
			}
		}
	}
	slices.Sort(more)
	return k, k.resolveFunctions(ctx, ask, slices.Compact(more))
}

// resolveGlobal asks for what matters for every statement.
func (k *known) resolveGlobal(ctx context.Context, ask Ask) error {
	rows, err := ask(ctx, askGlobal())
	if err != nil {
		return err
	}
	g := &globalFact{types: map[uint32]bool{}, families: map[uint32]bool{}}
	for _, r := range rows {
		what := string(r[1])
		switch kind := string(r[0]); kind {
		case "s":
			g.sign, err = sumIn64(what)
		case "o":
			g.operators = append(g.operators, operator{what, sqltext.Function{Schema: string(r[2]), Name: string(r[3])}})
		default:
			var oid uint64
			oid, err = strconv.ParseUint(what, 10, 32)
			if kind == "f" {
				g.families[uint32(oid)] = true
			} else {
				g.types[uint32(oid)] = true
				g.builtin = g.builtin || oid < FirstUserOID
			}
		}
		if err != nil {
			return err
		}
	}
	k.global = g
	return nil
}

// resolveFunctions asks what the names of functions may mean.
func (k *known) resolveFunctions(ctx context.Context, ask Ask, names []string) error {
	if len(names) == 0 {
		return nil
	}
	rows, err := ask(ctx, askFunctions(), sqltext.TextArray(names))
	if err != nil {
		return err
	}
	for _, r := range rows {
		is := func(i int) bool { return string(r[i]) == "t" }
		f := &functionFact{builtin: is(2), builtinOne: is(3), extension: is(4), sets: is(9)}
		f.sign, err = sumIn64(string(r[1]))
		var bodies, owned []string
		for i, into := range map[int]any{5: &f.own, 6: &f.ownOne, 7: &f.types, 8: &bodies, 10: &owned} {
			if v := r[i]; v != nil && err == nil {
				err = json.Unmarshal(v, into)
			}
		}
		if err != nil {
			return fmt.Errorf("lmipool: what the catalogs say of the function %q: %w", r[0], err)
		}
		for _, sql := range bodies {
			b := sqltext.BodyOf(sql, false)
			if b.Trace > sqltext.NoTrace || sqltext.Scan(sql).Refused != "" { // the function counts as the user's own
				f.own, f.ownOne, f.extension = append(f.own, ""), append(f.ownOne, ""), false
				continue
			}
			f.bodies = append(f.bodies, body{Body: b})
		}
		for _, one := range owned {
			f.owned = append(f.owned, ownedBodyOf(one))
		}
		k.functions[string(r[0])] = f
	}
	return nil
}

// ownedBodyOf reads what the SQL expression ownedBody returns. If it cannot, the body may do anything.
func ownedBodyOf(answer string) (b body) {
	var is struct {
		Body       string  `json:"b"`
		Procedural bool    `json:"l"`
		Defaults   *string `json:"d"`
		Path       string  `json:"p"`
		Others     *string `json:"c"`
		Owner      *string `json:"o"`
	}
	if answer == "" || json.Unmarshal([]byte(answer), &is) != nil {
		b.Trace, b.Dynamic = sqltext.AnyTrace, true
		return b
	}
	b.Body = sqltext.BodyOf(is.Body, is.Procedural)
	if is.Defaults != nil {
		d := sqltext.BodyOf("select "+*is.Defaults, false)
		b.Mentions, b.Functions = b.Mentions.And(&d.Mentions), append(b.Functions, d.Functions...)
		b.Trace, b.Dynamic = max(b.Trace, d.Trace), b.Dynamic || d.Dynamic
	}
	if is.Others != nil {
		b.Trace = max(b.Trace, sqltext.AnyTrace)
		if others := strings.ToLower(*is.Others); strings.Contains(others, "plpgsql.") || strings.Contains(others, "standard_conforming_strings=") {
			b.Trace = sqltext.LastingTrace
		}
	}
	if is.Owner != nil {
		b.schemas = append(b.schemas, *is.Owner)
	}
	for schema := range strings.SplitSeq(is.Path, ",") {
		schema = strings.TrimSpace(schema)
		if in, quoted := strings.CutPrefix(schema, `"`); quoted {
			schema = strings.TrimSuffix(in, `"`)
		} else {
			schema = strings.ToLower(schema) // PostgreSQL folds unquoted names to lower case
		}
		if strings.ContainsAny(schema, `"$,`) || strings.HasPrefix(schema, "pg_temp") {
			b.Trace = max(b.Trace, sqltext.AnyTrace)
		} else if schema != "" {
			b.schemas = append(b.schemas, schema)
		}
	}
	return b
}

var errNoNode = errors.New("lmipool: the catalogs answer what was not asked")

// resolveNodes asks what names of relations and types stand for, and what these and types lead to.
func (k *known) resolveNodes(ctx context.Context, ask Ask, names []nameKey, types []uint32) error {
	if len(names) == 0 && len(types) == 0 {
		return nil
	}
	var schemas, plain, uses []string
	for _, n := range names {
		schemas, plain, uses = append(schemas, n.Schema), append(plain, n.Name.Name), append(uses, string(n.use))
		k.names[n] = &nameFact{}
	}
	rows, err := ask(ctx, askNodes(), sqltext.TextArray(schemas), sqltext.TextArray(plain), sqltext.TextArray(uses), oidArray(types))
	if err != nil {
		return err
	}
	for _, r := range rows {
		a := [5]string{}
		for i, v := range r[:len(a)] {
			a[i] = string(v)
		}
		if a[0] == "k" {
			i, err := strconv.Atoi(a[1])
			if err != nil || i > len(names) {
				return errNoNode
			}
			if i > 0 { // 0 stands for a type that was asked for by its OID
				err = k.names[names[i-1]].says(a[2], a[3])
			}
			if err != nil {
				return err
			}
			continue
		}
		n, err := nodeAt(a[1], a[2])
		if err != nil {
			return err
		}
		f := k.nodes[n]
		if f == nil {
			f = &nodeFact{effects: effects{bad: "unknown"}} // until the row "n" of this node comes
			k.nodes[n] = f
		}
		switch a[0] {
		case "n":
			f.sign, err = sumIn64(a[4])
			if a[3] != "" || f.bad == "unknown" {
				f.bad = a[3]
			}
		case "e":
			n, err = nodeAt(a[3], a[4])
			f.next = append(f.next, n)
		case "o":
			n, err = nodeAt("o", a[3])
			f.uses = append(f.uses, n.oid)
		case "f":
			f.own = append(f.own, sqltext.Function{Schema: a[3], Name: a[4]})
		case "u":
			f.as = addNew(f.as, a[3])
		case "g":
			f.runs = addNew(f.runs, a[3])
			if a[4] != "" {
				f.calls("select " + conditionOf(a[4]))
			}
		case "x":
			f.calls(a[3])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// says notes that f's name stands for the node with this class and the OID is. If class is "", it notes that f has the sign is.
func (f *nameFact) says(class, is string) (err error) {
	if class == "" {
		f.sign, err = sumIn64(is)
		return err
	}
	n, err := nodeAt(class, is)
	f.nodes = append(f.nodes, n)
	return err
}

func nodeAt(class, oid string) (node, error) {
	n, err := strconv.ParseUint(oid, 10, 32)
	if err != nil || len(class) != 1 {
		return node{}, errNoNode
	}
	return node{class[0], uint32(n)}, nil
}

// calls notes the functions that an expression names. If the scanner refuses the expression, nothing is proven of a statement that uses the node.
func (f *nodeFact) calls(sql string) {
	scan := sqltext.Scan(sql)
	if scan.Refused != "" {
		f.bad = "expression"
	}
	f.call = append(f.call, scan.Functions...)
}

// conditionOf returns the condition in a trigger's definition. If " WHEN (" or ") EXECUTE " is part of a name or an argument, the result is not a valid
// expression, or has more than the condition in it. Both are safe.
func conditionOf(def string) string {
	_, def, _ = strings.Cut(def, " WHEN (")
	return "(" + def[:max(0, strings.LastIndex(def, ") EXECUTE "))] + ")"
}

// oidArray returns oids as an oid[] in text format.
func oidArray(oids []uint32) []byte {
	b := []byte{'{'}
	for i, o := range oids {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(o), 10)
	}
	return append(b, '}')
}

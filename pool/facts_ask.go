package pool

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

// known is what was found out about some names.
type known struct {
	asked     time.Time
	global    *globalFact
	functions map[string]*functionFact
	names     map[nameKey]*nameFact
	nodes     map[node]*nodeFact
}

// askTimeout bounds the questions, while their connection is out.
const askTimeout = 5 * time.Second

// findOut finds out what w asks for. It runs on a connection that nobody else uses just now, whose session is clean.
func (c *conn) findOut(ctx context.Context, w wanted) (*known, error) {
	k := &known{asked: time.Now(), functions: map[string]*functionFact{}, names: map[nameKey]*nameFact{}, nodes: map[node]*nodeFact{}}
	if w.global {
		if err := c.resolveGlobal(ctx, k); err != nil {
			return nil, err
		}
	}
	if err := c.resolveFunctions(ctx, k, w.functions); err != nil {
		return nil, err
	}
	for _, f := range k.functions {
		w.types = append(w.types, f.types...)
	}
	if err := c.resolveNodes(ctx, k, w.names, w.types); err != nil {
		return nil, err
	}
	var more []string // that expressions call, and which may be an extension's
	for _, n := range k.nodes {
		for _, f := range n.call {
			if !f.Harmless() && k.functions[f.Name] == nil && !c.base.knows(f.Name) {
				more = append(more, f.Name)
			}
		}
	}
	slices.Sort(more)
	return k, c.resolveFunctions(ctx, k, slices.Compact(more))
}

// ask runs one of the questions that facts are derived from, and returns its rows.
func (c *conn) ask(ctx context.Context, sql string, args ...[]byte) (rows [][][]byte, err error) {
	if len(args) > 0 { // about a few names: by index only, which the planner, who expects thousands of rows, does not see
		return c.answers(ctx, byIndex, sql, args)
	}
	return c.answers(ctx, "", sql, args)
}

// byIndex keeps the planner from reading whole catalogs. It is transaction-local.
const byIndex = `select pg_catalog.set_config('enable_seqscan', 'off', true), pg_catalog.set_config('enable_hashjoin', 'off', true),` +
	` pg_catalog.set_config('enable_mergejoin', 'off', true)`

func (c *conn) resolveGlobal(ctx context.Context, k *known) error {
	rows, err := c.ask(ctx, askGlobal)
	if err != nil {
		return err
	}
	g := &globalFact{types: map[uint32]bool{}, families: map[uint32]bool{}}
	for _, r := range rows {
		what := string(r[1])
		switch string(r[0]) {
		case "s":
			g.sign, err = strconv.ParseInt(what, 10, 64)
		case "o":
			g.operators = append(g.operators, operator{what, sqltext.Function{Schema: string(r[2]), Name: string(r[3])}})
		default:
			var oid uint64
			oid, err = strconv.ParseUint(what, 10, 32)
			if string(r[0]) == "f" {
				g.families[uint32(oid)] = true
			} else {
				g.types[uint32(oid)] = true
				g.builtin = g.builtin || oid < firstUserOID
			}
		}
		if err != nil {
			return err
		}
	}
	k.global = g
	return nil
}

func (c *conn) resolveFunctions(ctx context.Context, k *known, names []string) error {
	if len(names) == 0 {
		return nil
	}
	rows, err := c.ask(ctx, askFunctions, textArray(names))
	if err != nil {
		return err
	}
	for _, r := range rows {
		f := &functionFact{builtin: string(r[2]) == "t", builtinOne: string(r[3]) == "t", extension: string(r[4]) == "t", sets: string(r[9]) == "t", oids: string(r[11]), atomic: string(r[12]) == "t"}
		f.sign, err = strconv.ParseInt(string(r[1]), 10, 64)
		var oids, bodies, owned []string
		for i, into := range map[int]any{5: &f.own, 6: &f.ownOne, 7: &oids, 8: &bodies, 10: &owned} {
			if v := r[i]; v != nil && err == nil {
				err = json.Unmarshal(v, into)
			}
		}
		if err != nil {
			return fmt.Errorf("lmipool: what the catalogs say of the function %q: %w", r[0], err)
		}
		for _, o := range oids {
			oid, _ := strconv.ParseUint(o, 10, 32)
			f.types = append(f.types, uint32(oid))
		}
		for _, sql := range bodies {
			b := sqltext.BodyOf(sql, false)
			if b.Trace > sqltext.NoTrace || sqltext.Scan(sql).Refused != "" { // as good as the user's own
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

var errNoNode = errors.New("lmipool: the catalogs answer what was not asked")

func (c *conn) resolveNodes(ctx context.Context, k *known, names []nameKey, types []uint32) error {
	if len(names) == 0 && len(types) == 0 {
		return nil
	}
	slices.SortStableFunc(names, func(a, b nameKey) int { return int(a.use) - int(b.use) })
	var schemas, plain []string
	firsts := [inserts + 1]int{}
	for _, n := range names {
		schemas, plain = append(schemas, n.Schema), append(plain, n.Name.Name)
		for u := n.use + 1; u <= inserts; u++ {
			firsts[u]++
		}
		k.names[n] = &nameFact{}
	}
	number := func(n int) []byte { return strconv.AppendInt(nil, int64(n), 10) }
	rows, err := c.ask(ctx, askNodes, textArray(schemas), textArray(plain), number(firsts[changes]+1), number(firsts[inserts]+1), oidArray(types))
	if err != nil {
		return err
	}
	text := func(r [][]byte, i int) string { return string(r[i]) }
	at := func(class, oid string) (node, error) {
		n, err := strconv.ParseUint(oid, 10, 32)
		if err != nil || len(class) != 1 {
			return node{}, errNoNode
		}
		return node{class[0], uint32(n)}, nil
	}
	get := func(n node) *nodeFact {
		f := k.nodes[n]
		if f == nil {
			f = &nodeFact{bad: "unknown"} // unless its own row comes
			k.nodes[n] = f
		}
		return f
	}
	for _, r := range rows {
		if text(r, 0) == "k" {
			i, err := strconv.Atoi(text(r, 1))
			if err != nil || i > len(names) {
				return errNoNode
			}
			if i == 0 {
				continue
			}
			f := k.names[names[i-1]]
			if text(r, 2) == "" {
				if f.sign, err = strconv.ParseInt(text(r, 3), 10, 64); err != nil {
					return err
				}
				continue
			}
			n, err := at(text(r, 2), text(r, 3))
			if err != nil {
				return err
			}
			f.nodes = append(f.nodes, n)
			continue
		}
		n, err := at(text(r, 1), text(r, 2))
		if err != nil {
			return err
		}
		f := get(n)
		switch text(r, 0) {
		case "n":
			if f.sign, err = strconv.ParseInt(text(r, 4), 10, 64); err != nil {
				return err
			}
			if f.bad == "unknown" {
				f.bad = ""
			}
			if bad := text(r, 3); bad != "" {
				f.bad = bad
			}
		case "e":
			m, err := at(text(r, 3), text(r, 4))
			if err != nil {
				return err
			}
			f.next = append(f.next, m)
		case "o":
			oid, err := strconv.ParseUint(text(r, 3), 10, 32)
			if err != nil {
				return errNoNode
			}
			f.uses = append(f.uses, uint32(oid))
		case "f":
			f.own = append(f.own, sqltext.Function{Schema: text(r, 3), Name: text(r, 4)})
		case "u":
			f.as = addNew(f.as, text(r, 3))
		case "g":
			f.runs = addNew(f.runs, text(r, 3))
			if def := text(r, 4); def != "" {
				f.calls("select " + conditionOf(def))
			}
		case "x":
			f.calls(text(r, 3))
		}
	}
	return nil
}

// calls notes the functions that an expression names. If that is not certain, the node is no good.
func (f *nodeFact) calls(sql string) {
	scan := sqltext.Scan(sql)
	if scan.Refused != "" {
		f.bad = "expression"
	}
	f.call = append(f.call, scan.Functions...)
}

// conditionOf is the condition in the definition of a trigger. Where it begins or ends in another place than it seems to, as in a
// name or in an argument, it is no expression, or it is more than the condition.
func conditionOf(def string) string {
	_, def, _ = strings.Cut(def, " WHEN (")
	return "(" + def[:max(0, strings.LastIndex(def, ") EXECUTE "))] + ")"
}

// textArray is names as text[] in text format.
func textArray(names []string) []byte {
	var b strings.Builder
	b.WriteByte('{')
	for i, n := range names {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(n) + `"`)
	}
	b.WriteByte('}')
	return []byte(b.String())
}

// oidArray is oids as oid[] in text format.
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

// unknownTypes are those of oids that are not built-in.
func unknownTypes(oids []uint32) (types []uint32) {
	for _, o := range oids {
		if o >= firstUserOID {
			types = append(types, o)
		}
	}
	return types
}

// quietSnapshot returns snapshot if nothing was under way in it: then nothing can have been committed as long as it is the same.
func quietSnapshot(snapshot string) string {
	from, rest, _ := strings.Cut(snapshot, ":")
	to, running, _ := strings.Cut(rest, ":")
	if from != to || running != "" {
		return ""
	}
	return snapshot
}

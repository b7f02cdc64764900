package facts

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/lmipool/lmipool/internal/sqltext"
)

var errNoNode = errors.New("lmipool: the catalogs answer what was not asked")

// resolveNodes asks what names of relations and types mean, and all that they and types lead to.
func (k *known) resolveNodes(ctx context.Context, ask Ask, names []nameKey, types []uint32) error {
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
	rows, err := ask.of(ctx, askNodes, sqltext.TextArray(schemas), sqltext.TextArray(plain), number(firsts[changes]+1), number(firsts[inserts]+1), oidArray(types))
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

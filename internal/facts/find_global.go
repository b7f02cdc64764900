package facts

import (
	"context"
	"strconv"

	"github.com/lmipool/lmipool/internal/sqltext"
)

// resolveGlobal asks what holds for every statement.
func (k *known) resolveGlobal(ctx context.Context, ask Ask) error {
	rows, err := ask.of(ctx, askGlobal)
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

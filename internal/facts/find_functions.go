package facts

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/lmipool/lmipool/internal/sqltext"
)

// resolveFunctions asks what the names of functions may mean.
func (k *known) resolveFunctions(ctx context.Context, ask Ask, names []string) error {
	if len(names) == 0 {
		return nil
	}
	rows, err := ask.of(ctx, askFunctions, sqltext.TextArray(names))
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

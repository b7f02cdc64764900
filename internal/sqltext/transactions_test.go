package sqltext

import "testing"

func TestAsideTakesNoSnapshot(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]bool{
		"LOCK TABLE t": true, "set local search_path = a": true, "savepoint a; release a;": true, "": true, "/* x */ show all": true,
		"select 1": false, "set x.y = 1; select 1": false, "lock t; insert into t values (1)": false, "set $$": false, "prepare transaction 'x'": false,
		"declare c cursor for select 1": false, "do $$ begin end $$": false,
	} {
		if got := Aside(sql); got != want {
			t.Errorf("%q: %v", sql, got)
		}
	}
}

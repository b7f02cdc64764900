package pool_test

import (
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/pool"
)

// What settings cost: the statement alone, with settings, and as one does it without With.
func BenchmarkWith(b *testing.B) {
	ctx := b.Context()
	t := newTenants(b, pool.Config{MaxConns: 2})
	const sql = "select v from seen where who = $1"
	t.see.exec("insert into seen values ('me', 'v')")
	ask := func(b *testing.B, q rowQuerier) {
		var v string
		if err := q.QueryRow(ctx, sql, "me").Scan(&v); err != nil {
			b.Fatal(err)
		}
	}
	ways := map[string]func(*testing.B){
		"without": func(b *testing.B) { ask(b, t) },
		"with":    func(b *testing.B) { ask(b, t.With(tenant("t1"))) },
		"in a transaction": func(b *testing.B) {
			if err := pgx.BeginFunc(ctx, t, func(tx pgx.Tx) error {
				if _, err := tx.Exec(ctx, "select set_config('app.tenant', $1, true)", "t1"); err != nil {
					return err
				}
				ask(b, tx)
				return nil
			}); err != nil {
				b.Fatal(err)
			}
		},
	}
	for _, name := range []string{"without", "with", "in a transaction"} {
		b.Run("one/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				ways[name](b)
			}
		})
		b.Run("many/"+name, func(b *testing.B) {
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					ways[name](b)
				}
			})
		})
	}
}

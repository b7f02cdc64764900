package pool_test

import (
	"context"
	"runtime"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// 64 callers on 2 connections: what a ride costs our side, in time and in garbage, and
// beside it what pgxpool's statement costs that waits for its turn.
func BenchmarkSaturated(b *testing.B) {
	ctx, dsn := context.Background(), pgtest.Database(b)
	const sql = "select id, name from t where id = $1"
	type db interface {
		QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	}
	crowd := func(b *testing.B, p db) {
		b.ReportAllocs()
		b.SetParallelism(64 / runtime.GOMAXPROCS(0))
		b.RunParallel(func(pb *testing.PB) {
			for id := 1; pb.Next(); id = id%100 + 1 {
				var got int
				var name string
				if err := p.QueryRow(ctx, sql, id).Scan(&got, &name); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	setup := newInspector(b, dsn)
	if _, err := setup.c.Exec(ctx, "create table t as select id, 'name ' || id as name from generate_series(1, 100) id; create unique index on t (id)"); err != nil {
		b.Fatal(err)
	}
	b.Run("pool=pgxpool", func(b *testing.B) {
		config, err := pgxpool.ParseConfig(dsn)
		if err != nil {
			b.Fatal(err)
		}
		config.MaxConns = 2
		p, err := pgxpool.NewWithConfig(ctx, config)
		if err != nil {
			b.Fatal(err)
		}
		defer p.Close()
		crowd(b, p)
	})
	b.Run("pool=lmipool", func(b *testing.B) {
		p := newPoolAt(b, dsn, &pool.Config{MaxConns: 2})
		crowd(b, p)
		s := p.Stat()
		b.ReportMetric(float64(s.Lanes().Rides)/float64(b.N), "rides/op")
	})
}

package pool_test

import (
	"context"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// One client and an idle pool: what lmipool adds to pgxpool. `make bench` runs the
// pairs in turn, because the machine's speed drifts, and compares them.
func benchmark(b *testing.B, ours func(*pool.Pool) error, theirs func(*pgxpool.Pool) error) {
	dsn := pgtest.Database(b)
	b.Run("pool=pgxpool", func(b *testing.B) {
		p, err := pgxpool.New(context.Background(), dsn)
		if err != nil {
			b.Fatal(err)
		}
		defer p.Close()
		loop(b, func() error { return theirs(p) })
	})
	b.Run("pool=lmipool", func(b *testing.B) {
		p := newPoolAt(b, dsn, nil)
		loop(b, func() error { return ours(p) })
	})
}

func loop(b *testing.B, f func() error) {
	if err := f(); err != nil { // dials
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := f(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAcquireRelease(b *testing.B) {
	ctx := context.Background()
	benchmark(b,
		func(p *pool.Pool) error { l, err := p.Acquire(ctx); l.Release(); return err },
		func(p *pgxpool.Pool) error { c, err := p.Acquire(ctx); c.Release(); return err })
}

func BenchmarkQueryRow(b *testing.B) {
	ctx := context.Background()
	const sql = "select n, 'name ' || n from generate_series($1::int, $1::int) n"
	var n int
	var s string
	benchmark(b,
		func(p *pool.Pool) error { return p.QueryRow(ctx, sql, 7).Scan(&n, &s) },
		func(p *pgxpool.Pool) error { return p.QueryRow(ctx, sql, 7).Scan(&n, &s) })
}

func BenchmarkQuery20Rows(b *testing.B) {
	ctx := context.Background()
	const sql = "select n, 'name ' || n from generate_series(1, 20) n"
	read := func(r pgx.Rows, err error) error {
		if err != nil {
			return err
		}
		var n int
		var s string
		for r.Next() {
			if err := r.Scan(&n, &s); err != nil {
				return err
			}
		}
		return r.Err()
	}
	benchmark(b,
		func(p *pool.Pool) error { return read(p.Query(ctx, sql)) },
		func(p *pgxpool.Pool) error { return read(p.Query(ctx, sql)) })
}

// What the next user of a connection pays for what the last one left in its session: the
// time from the release of a lease to the answer of a statement that waited for it.
func BenchmarkNextUser(b *testing.B) {
	for _, last := range []struct{ name, sql string }{
		{"clean", "show work_mem"}, {"sequence", "select nextval('seq')"}, {"session", "set work_mem = '5MB'"}, {"any", "do $$ begin set work_mem = '5MB'; end $$"},
	} {
		b.Run("last="+last.name, func(b *testing.B) {
			ctx := context.Background()
			p := newPoolAt(b, pgtest.Database(b), &pool.Config{MaxConns: 1, Lanes: pool.Off})
			if _, err := p.Exec(ctx, "create sequence seq"); err != nil {
				b.Fatal(err)
			}
			var took []time.Duration
			for b.Loop() {
				l, err := p.Acquire(ctx)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := l.Exec(ctx, last.sql); err != nil {
					b.Fatal(err)
				}
				done := make(chan time.Time)
				go func() {
					var n int
					_ = p.QueryRow(ctx, "select $1::int", 7).Scan(&n)
					done <- time.Now()
				}()
				for p.Stat().Queued() == 0 {
					runtime.Gosched()
				}
				began := time.Now()
				l.Release()
				took = append(took, (<-done).Sub(began))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1e3, "µs/next-user-p50")
		})
	}
}

// A transaction of three statements at a round trip of 1 ms: five round trips of pgxpool's,
// four of InTx's.
func BenchmarkTransactionAt1ms(b *testing.B) {
	dsn, _ := accounts(b)
	proxy := newProxy(b, dsn)
	proxy.SetRoundTrip(time.Millisecond)
	b.Run("pool=pgxpool", func(b *testing.B) {
		cfg, err := pgxpool.ParseConfig(dsn)
		if err != nil {
			b.Fatal(err)
		}
		cfg.BeforeConnect = through(proxy)
		p, err := pgxpool.NewWithConfig(context.Background(), cfg)
		if err != nil {
			b.Fatal(err)
		}
		defer p.Close()
		loop(b, func() error {
			return pgx.BeginFunc(context.Background(), p, func(tx pgx.Tx) error { return transfer(context.Background(), tx) })
		})
	})
	b.Run("pool=lmipool", func(b *testing.B) {
		p := newPoolAt(b, dsn, &pool.Config{BeforeConnect: through(proxy)})
		loop(b, func() error { return pool.InTx(context.Background(), p, pool.TxOptions{}, transfer) })
	})
}

package pool_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// everything a straggler may be in the middle of when its invocation ends
func TestStragglersOfEveryKindMeetNobody(t *testing.T) {
	t.Parallel()
	kinds := map[string]func(ctx context.Context, p *pool.Pool, in chan<- struct{}) error{
		"rows": func(ctx context.Context, p *pool.Pool, in chan<- struct{}) error {
			r, err := p.Query(ctx, "select repeat('x', 100) from generate_series(1, 10000000)")
			if err != nil {
				return err
			}
			for i := 0; r.Next(); i++ {
				var s string
				if err := r.Scan(&s); err != nil {
					return err
				}
				if i == 100 {
					close(in)
				}
			}
			return r.Err()
		},
		"rows values": func(ctx context.Context, p *pool.Pool, in chan<- struct{}) error {
			r, err := p.Query(ctx, "select i, 'x' from generate_series(1, 10000000) i")
			if err != nil {
				return err
			}
			for i := 0; r.Next(); i++ {
				if _, err := r.Values(); err != nil {
					return err
				}
				r.FieldDescriptions()
				r.CommandTag()
				r.TypeMap()
				if i == 100 {
					close(in)
				}
			}
			return r.Err()
		},
		"batch": func(ctx context.Context, p *pool.Pool, in chan<- struct{}) error {
			b := &pgx.Batch{}
			for range 20000 {
				b.Queue("select 1")
			}
			br := p.SendBatch(ctx, b)
			for i := range 20000 {
				if _, err := br.Exec(); err != nil {
					return err
				}
				if i == 100 {
					close(in)
				}
			}
			return br.Close()
		},
		"batch rows": func(ctx context.Context, p *pool.Pool, in chan<- struct{}) error {
			b := &pgx.Batch{}
			b.Queue("select 1")
			b.Queue("select repeat('x', 100) from generate_series(1, 10000000)")
			br := p.SendBatch(ctx, b)
			br.QueryRow()
			r, err := br.Query()
			if err != nil {
				return err
			}
			for i := 0; r.Next(); i++ {
				if i == 100 {
					close(in)
				}
			}
			return r.Err()
		},
		"batch close": func(ctx context.Context, p *pool.Pool, in chan<- struct{}) error {
			b := &pgx.Batch{}
			b.Queue("select pg_sleep(20)")
			br := p.SendBatch(ctx, b)
			close(in)
			return br.Close()
		},
		"tx": func(ctx context.Context, p *pool.Pool, in chan<- struct{}) error {
			tx, err := p.Begin(ctx)
			if err != nil {
				return err
			}
			close(in)
			for {
				if _, err := tx.Exec(ctx, "select 1"); err != nil {
					if e := tx.Commit(ctx); e == nil {
						return nil
					}
					tx.Rollback(ctx)
					return err
				}
			}
		},
		"nested tx rows": func(ctx context.Context, p *pool.Pool, in chan<- struct{}) error {
			tx, err := p.Begin(ctx)
			if err != nil {
				return err
			}
			defer tx.Rollback(ctx)
			sp, err := tx.Begin(ctx)
			if err != nil {
				return err
			}
			defer sp.Rollback(ctx)
			r, err := sp.Query(ctx, "select generate_series(1, 10000000)")
			if err != nil {
				return err
			}
			defer r.Close()
			for i := 0; r.Next(); i++ {
				if i == 100 {
					close(in)
				}
			}
			return r.Err()
		},
		"copy": func(ctx context.Context, p *pool.Pool, in chan<- struct{}) error {
			i := 0
			_, err := p.CopyFrom(ctx, pgx.Identifier{"t"}, []string{"n"}, pgx.CopyFromFunc(func() ([]any, error) {
				if i++; i == 1000 {
					close(in)
				}
				if i > 20000000 {
					return nil, nil
				}
				return []any{i}, nil
			}))
			return err
		},
		"copy that blocks": func(ctx context.Context, p *pool.Pool, in chan<- struct{}) error {
			n := 0
			_, err := p.CopyFrom(ctx, pgx.Identifier{"t"}, []string{"n"}, pgx.CopyFromFunc(func() ([]any, error) {
				if n++; n == 100 {
					close(in)
					time.Sleep(400 * time.Millisecond)
				}
				return []any{n}, nil
			}))
			return err
		},
		"large object": func(ctx context.Context, p *pool.Pool, in chan<- struct{}) error {
			tx, err := p.Begin(ctx)
			if err != nil {
				return err
			}
			lo := tx.LargeObjects()
			id, err := lo.Create(ctx, 0)
			if err != nil {
				return err
			}
			o, err := lo.Open(ctx, id, pgx.LargeObjectModeWrite)
			if err != nil {
				return err
			}
			close(in)
			for {
				if _, err := o.Write(make([]byte, 10000)); err != nil {
					return err
				}
			}
		},
		"query row": func(ctx context.Context, p *pool.Pool, in chan<- struct{}) error {
			close(in)
			for {
				var n int
				if err := p.QueryRow(ctx, "select 1 union all select generate_series(2,1000)").Scan(&n); err != nil {
					return err
				}
			}
		},
		"raw listen": func(ctx context.Context, p *pool.Pool, in chan<- struct{}) error {
			l, err := p.Acquire(ctx)
			if err != nil {
				return err
			}
			c := l.Conn()
			close(in)
			_, err = c.WaitForNotification(ctx)
			return err
		},
	}
	for name, use := range kinds {
		for _, detached := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%t", name, detached), func(t *testing.T) {
				dsn := pgtest.Database(t)
				ctx, server := bounded(t), newInspector(t, dsn)
				p := newPoolAt(t, dsn, &pool.Config{MaxConns: 2, Logger: (&logs{}).logger()})
				_, err := p.Exec(ctx, "create table t (n int)")
				require.NoError(t, err)
				for range 2 {
					inv, scope := p.OpenScope(ctx, "s", time.Time{})
					in, done := make(chan struct{}), make(chan error)
					go func() {
						u := inv
						if detached {
							u = context.WithoutCancel(inv)
						}
						done <- use(u, p, in)
					}()
					select {
					case <-in:
					case err := <-done:
						t.Fatal("early", err)
					}
					scope.End()
					// neighbours
					together(4, func(i int) {
						for j := range 30 {
							var n int
							if assert.NoError(t, p.QueryRow(ctx, "select $1::int", i*100+j).Scan(&n)) {
								assert.Equal(t, i*100+j, n)
							}
						}
					})
					select {
					case err := <-done:
						if err == nil {
							t.Error("the straggler got no error")
						}
					case <-time.After(8 * time.Second):
						t.Fatal("the straggler is stuck")
					}
					assert.LessOrEqual(t, server.backends(), 2)
				}
				eventually(t, "whole", func() bool { s := p.Stat(); return s.AcquiredConns() == 0 && s.TotalConns() == s.IdleConns() })
			})
		}
	}
}

func TestRowsAreAsPgxpools(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	ctx := bounded(t)
	p := newPoolAt(t, dsn, nil)
	px, err := pgxpool.New(ctx, dsn)
	require.NoError(t, err)
	defer px.Close()
	type db interface {
		Query(context.Context, string, ...any) (pgx.Rows, error)
		SendBatch(context.Context, *pgx.Batch) pgx.BatchResults
		Begin(context.Context) (pgx.Tx, error)
	}
	type S struct {
		A int
		B *string
	}
	say := func(vs ...any) string { return fmt.Sprintf("%v", vs) }
	use := map[string]func(d db, sql string) string{
		"walk": func(d db, sql string) string {
			r, err := d.Query(ctx, sql)
			if err != nil {
				return say("q", err, r.Err(), r.Next(), r.CommandTag())
			}
			s := ""
			for r.Next() {
				v, err := r.Values()
				s += say(v, err, len(r.RawValues()), r.Err(), r.CommandTag())
			}
			s += say(r.Err(), r.CommandTag(), r.RawValues())
			n := []string{}
			for _, f := range r.FieldDescriptions() {
				n = append(n, f.Name)
			}
			r.Close()
			return s + say(n, r.Next(), r.Err(), r.CommandTag())
		},
		"early close": func(d db, sql string) string {
			r, err := d.Query(ctx, sql)
			if err != nil {
				return say(err)
			}
			r.Next()
			r.Close()
			r.Close()
			return say(r.Err(), r.CommandTag(), r.Next(), len(r.FieldDescriptions()))
		},
		"structs": func(d db, sql string) string {
			r, err := d.Query(ctx, sql)
			v, err2 := pgx.CollectRows(r, pgx.RowToAddrOfStructByName[S])
			return say(len(v), err, err2)
		},
		"one": func(d db, sql string) string {
			r, err := d.Query(ctx, sql)
			v, err2 := pgx.CollectOneRow(r, pgx.RowToMap)
			return say(v, err, err2)
		},
		"exactly": func(d db, sql string) string {
			r, err := d.Query(ctx, sql)
			v, err2 := pgx.CollectExactlyOneRow(r, pgx.RowTo[any])
			return say(v, err, err2)
		},
		"foreach": func(d db, sql string) string {
			r, _ := d.Query(ctx, sql)
			var a any
			n := 0
			tag, err := pgx.ForEachRow(r, []any{&a}, func() error {
				n++
				if n == 2 {
					return errors.New("stop")
				}
				return nil
			})
			return say(tag, err, n)
		},
		"tx": func(d db, sql string) string {
			tx, err := d.Begin(ctx)
			if err != nil {
				return say(err)
			}
			defer tx.Rollback(ctx)
			var a any
			e1 := tx.QueryRow(ctx, sql).Scan(&a)
			var b int
			e2 := tx.QueryRow(ctx, "select 5").Scan(&b)
			e3 := tx.Commit(ctx)
			e4 := tx.Rollback(ctx)
			_, e5 := tx.Exec(ctx, "select 1")
			e6 := tx.QueryRow(ctx, "select 1").Scan(&b)
			e7 := tx.SendBatch(ctx, &pgx.Batch{}).Close()
			_, e8 := tx.Begin(ctx)
			return say(a, b, e1, e2, e3, e4, e5, e6, e7, e8)
		},
		"batch": func(d db, sql string) string {
			b := &pgx.Batch{}
			b.Queue("select 7")
			b.Queue(sql)
			b.Queue("select 8")
			br := d.SendBatch(ctx, b)
			var n int
			e1 := br.QueryRow().Scan(&n)
			r, e2 := br.Query()
			c := 0
			for r.Next() {
				c++
			}
			e3 := r.Err()
			t2, e4 := br.Exec()
			_, e5 := br.Exec()
			e6 := br.Close()
			e7 := br.Close()
			return say(n, c, t2, e1, e2, e3, e4, e5, e6, e7)
		},
		"callbacks": func(d db, sql string) string {
			s := ""
			b := &pgx.Batch{}
			b.Queue("select 7").QueryRow(func(r pgx.Row) error { var n int; err := r.Scan(&n); s += say(n, err); return err })
			b.Queue(sql).Query(func(r pgx.Rows) error {
				c := 0
				for r.Next() {
					c++
				}
				s += say(c, r.Err())
				return r.Err()
			})
			b.Queue("select 8").Exec(func(t pgconn.CommandTag) error { s += say(t); return nil })
			return s + say(d.SendBatch(ctx, b).Close())
		},
		"empty batch": func(d db, sql string) string {
			br := d.SendBatch(ctx, &pgx.Batch{})
			_, err := br.Exec()
			return say(err, br.Close())
		},
	}
	for _, sql := range []string{
		"select 1 as a, 'x' as b", "select i as a, null::text as b from generate_series(1,3) i", "select 1 where false", "select 1/0",
		"select 1/(2-i) from generate_series(1,3) i", "selec", "create temp table if not exists x()", "select 1", "select i from generate_series(1,3) i",
	} {
		for name, f := range use {
			want, got := f(px, sql), f(p, sql)
			if want != got {
				t.Errorf("%s of %q:\n  pgxpool %s\n  lmipool %s", name, sql, want, got)
			}
		}
	}
	assert.Zero(t, p.Stat().AcquiredConns())
}

func TestTwoShutdownsAtOnce(t *testing.T) {
	t.Parallel()
	for range 20 {
		ctx, p := bounded(t), newPool(t, &pool.Config{MaxConns: 4, Logger: (&logs{}).logger()})
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				inv, scope := p.OpenScope(ctx, "", time.Time{})
				defer scope.End()
				p.Exec(inv, "select pg_sleep(0.01)")
				p.Begin(inv)
				p.Query(inv, "select 1")
			})
		}
		short, cancel := context.WithTimeout(ctx, 5*time.Millisecond)
		together(3, func(i int) {
			if i == 0 {
				p.Shutdown(short)
			} else {
				p.Shutdown(ctx)
			}
		})
		cancel()
		wg.Wait()
		assert.Zero(t, p.Stat().TotalConns())
	}
}

func TestACancelBetweenRowsIsTheirError(t *testing.T) {
	t.Parallel()
	ctx, p := bounded(t), newPool(t, &pool.Config{MaxConns: 1})
	c, cancel := context.WithCancel(ctx)
	defer cancel()
	r, err := p.Query(c, "select repeat('x',1000) from generate_series(1,1000000)")
	require.NoError(t, err)
	n := 0
	for r.Next() {
		if n++; n == 10 {
			cancel()
		}
	}
	assert.ErrorIs(t, r.Err(), context.Canceled)
	assert.NoError(t, p.Ping(ctx))
	assert.EqualValues(t, 1, p.Stat().TotalConns())
}

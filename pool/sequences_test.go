package pool_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// cachedSchema has sequences with a cache, in a table and alone.
const cachedSchema = `
create sequence ids cache 1000; create table t (id bigint default nextval('ids') primary key, v text);
create sequence alone cache 1000;
create function reads() returns text language plpgsql volatile as $$ begin return coalesce(lastval()::text, ''); exception when object_not_in_prerequisite_state then return 'none'; end $$`

// ids has n invocations, one after the other on each of so many connections, draw an id each, and returns what range they
// are of. What is not known yet is looked at after its first runs, which may cost a cache or two, so there are some before.
func ids(t *testing.T, conns int32, n int, draw func(context.Context, *pool.Pool) (int64, error)) (most int64) {
	t.Helper()
	dsn := pgtest.Database(t)
	newInspector(t, dsn).exec(cachedSchema)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: conns, MinConns: conns})
	ctx := bounded(t)
	first := int64(0)
	for range 5 {
		id, err := draw(ctx, p)
		require.NoError(t, err)
		first = max(first, id)
		eventually(t, "it was looked at", func() bool { return p.Stat().IdleConns() > 0 })
	}
	work := make(chan struct{}, n)
	for range n {
		work <- struct{}{}
	}
	close(work)
	var all sync.Map
	var wg sync.WaitGroup
	for range conns {
		wg.Go(func() {
			for range work {
				sctx, scope := p.OpenScope(ctx, "invocation", time.Time{})
				id, err := draw(sctx, p)
				scope.End()
				if !assert.NoError(t, err) {
					return
				}
				_, twice := all.LoadOrStore(id, true)
				assert.False(t, twice, "id %d", id)
			}
		})
	}
	wg.Wait()
	all.Range(func(id, _ any) bool { most = max(most, id.(int64)); return true })
	return most - first
}

// The cache of a sequence lives as long as the session.
func TestACacheOfASequenceDoesNotBurn(t *testing.T) {
	t.Parallel()
	const insert = "insert into t (v) values ($1) returning id"
	inTx := func(sql string, args ...any) func(context.Context, *pool.Pool) (int64, error) {
		return func(ctx context.Context, p *pool.Pool) (id int64, err error) {
			err = pool.InTx(ctx, p, pool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
				return tx.QueryRow(ctx, sql, args...).Scan(&id)
			})
			return id, err
		}
	}
	for name, draw := range map[string]func(context.Context, *pool.Pool) (int64, error){
		"QueryRow": func(ctx context.Context, p *pool.Pool) (id int64, err error) {
			err = p.QueryRow(ctx, insert, "x").Scan(&id)
			return id, err
		},
		"Query": func(ctx context.Context, p *pool.Pool) (id int64, err error) {
			r, _ := p.Query(ctx, "select nextval('alone')")
			return pgx.CollectExactlyOneRow(r, pgx.RowTo[int64])
		},
		"SendBatch": func(ctx context.Context, p *pool.Pool) (id int64, err error) {
			var b pgx.Batch
			b.Queue(insert, "x").QueryRow(func(r pgx.Row) error { return r.Scan(&id) })
			b.Queue("select count(*) from t where id = $1", 1)
			return id, p.SendBatch(ctx, &b).Close()
		},
		"With": func(ctx context.Context, p *pool.Pool) (id int64, err error) {
			err = p.With(map[string]string{"app.tenant": "me"}).QueryRow(ctx, insert, "x").Scan(&id)
			return id, err
		},
		"set_config beside": func(ctx context.Context, p *pool.Pool) (id int64, err error) {
			if _, err = p.Exec(ctx, "select set_config('app.who', $1, false)", "me"); err == nil {
				err = p.QueryRow(ctx, insert, "x").Scan(&id)
			}
			return id, err
		},
		"InTx":              inTx(insert, "x"),
		"InTx with nextval": inTx("select nextval('alone')"),
		"InTx on conflict":  inTx("insert into t (v) values ($1) on conflict do nothing returning id", "x"),
		"CopyFrom": func(ctx context.Context, p *pool.Pool) (id int64, err error) {
			v := fmt.Sprint("copied ", rand.Uint64())
			if _, err := p.CopyFrom(ctx, pgx.Identifier{"t"}, []string{"v"}, pgx.CopyFromRows([][]any{{v}})); err != nil {
				return 0, err
			}
			err = p.QueryRow(ctx, "select id from t where v = $1", v).Scan(&id)
			return id, err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one := ids(t, 1, 200, draw)
			eight := ids(t, 8, 400, draw)
			t.Logf("200 ids on 1 connection: of %d; 400 on 8: of %d", one, eight)
			assert.LessOrEqual(t, one, int64(1000))
			assert.LessOrEqual(t, eight, int64(8000))
		})
	}
}

// What a lease reads of sequences is its own, whatever was drawn on its connection before: programs against a new
// connection for each.
func TestTheValuesOfSequencesAreOnesOwn(t *testing.T) {
	t.Parallel()
	programs := envInt(t, "LMIPOOL_TEST_PROGRAMS", 240)
	for mode, n := range map[string]int{"cache_statement": programs, "cache_describe": programs / 3, "describe_exec": programs / 3} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			testSequencePrograms(t, mode, n)
		})
	}
}

func testSequencePrograms(t *testing.T, mode string, programs int) {
	const schema = `
create sequence a cache 10; create sequence b cache 10; create sequence c;
create table ta (id bigint default nextval('a'), v text check (v <> 'bad')); create table tb (id bigint default nextval('b'), v text);
create table odd (id bigint default case current_setting('work_mem') when '5MB' then nextval('b') else nextval('a') end, v text);
create table ident (id int generated always as identity, v text);
create function reads(s text) returns text language plpgsql volatile as $$ begin return 'own ' || (currval(s) is not null); exception when object_not_in_prerequisite_state then return 'none'; end $$;
create function draws(s text) returns text language sql as $$ select 'drawn ' || (nextval(s) is not null) $$;
create function last() returns text language plpgsql volatile as $$ begin return 'own ' || (lastval() is not null); exception when object_not_in_prerequisite_state then return 'none'; end $$`
	vocabulary := []string{
		"select nextval('a') is not null", "select nextval('b') is not null", "select nextval('c') is not null", "select nextval('a'::regclass) > 0", "select nextval('a')",
		"select setval('a', (select last_value from a)) > 0", "select setval('c', 7, false)",
		"select currval('a') > 0", "select currval('b') > 0", "select currval('c') > 0", "select lastval() > 0", `select "lastval"() > 0, 1`,
		"select reads('a')", "select reads('b')", "select draws('a')", "select draws('b')", "select last()",
		"insert into ta (v) values ('x')", "insert into ta (v) values ('bad')", "insert into tb (v) values ('x')", "insert into tb (v) values ('x') returning currval('b') > 0",
		"insert into ta (v) select 'x' where false", "insert into ta (id, v) values (1, 'x')", "insert into odd (v) values ('x')", "insert into ident (v) values ('x')",
		"do $$ begin perform nextval('b'); end $$", "do $$ begin perform currval('a'); end $$", "select 1/0", "set local role none", "set work_mem = '5MB'",
		"savepoint s", "rollback to savepoint s", "select count(*) > -1 from ta", "discard sequences", "copy (select currval('a') > 0) to stdout",
	}
	ctx, dsn := context.Background(), pgtest.Database(t)
	newInspector(t, dsn).exec(schema)
	dsn += "&default_query_exec_mode=" + mode
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1, Logger: slog.New(slog.DiscardHandler)})
	type querier interface {
		Query(context.Context, string, ...any) (pgx.Rows, error)
	}
	const unknown = "lmipool: no answer came, so it may have happened: " // pgx does not say so
	ask := func(ctx context.Context, on querier, sql string) string {
		r, err := on.Query(ctx, sql)
		if err == nil {
			var rows [][]any
			rows, err = pgx.CollectRows(r, func(r pgx.CollectableRow) ([]any, error) { return r.Values() })
			if err == nil && strings.HasSuffix(sql, "('a')") && !strings.Contains(sql, "currval") && len(rows) == 1 {
				return "a number" // which differs
			}
			if err == nil {
				return fmt.Sprint(rows)
			}
		}
		var pg *pgconn.PgError
		if ok := errors.As(err, &pg); ok {
			return pg.Code
		}
		return strings.TrimPrefix(err.Error(), unknown)
	}
	batch := func(ctx context.Context, on interface {
		SendBatch(context.Context, *pgx.Batch) pgx.BatchResults
	}, statements []string,
	) (answers []string) {
		var b pgx.Batch
		for _, sql := range statements {
			b.Queue(sql)
		}
		br := on.SendBatch(ctx, &b)
		defer br.Close()
		for range statements {
			r, err := br.Query()
			if err == nil {
				n := 0
				for r.Next() {
					n++
				}
				err = r.Err()
			}
			var pg *pgconn.PgError
			if errors.As(err, &pg) {
				return append(answers, pg.Code)
			}
			text := strings.TrimPrefix(fmt.Sprint(err), unknown)
			if i := strings.Index(text, "received unexpected message type"); i > 0 {
				text = text[i:] // before it is said whether pgx had a name for the statement
			}
			answers = append(answers, text)
		}
		return answers
	}
	run := func(ctx context.Context, how, end int, statements []string, db interface {
		Begin(context.Context) (pgx.Tx, error)
		querier
		SendBatch(context.Context, *pgx.Batch) pgx.BatchResults
	}, raw func() *pgx.Conn,
	) (answers []string) {
		switch how {
		case 0: // a transaction
			tx, err := db.Begin(ctx)
			if err != nil {
				return []string{err.Error()}
			}
			defer func() { _ = tx.Rollback(ctx) }()
			for i, sql := range statements {
				if end == 1 && i == 2 {
					answers = append(answers, batch(ctx, tx, statements)...)
				}
				if end == 2 && i == 1 { // inside a savepoint of pgx's
					if sp, err := tx.Begin(ctx); err == nil {
						answers = append(answers, ask(ctx, sp, sql))
						_ = sp.Rollback(ctx)
						continue
					}
				}
				answers = append(answers, ask(ctx, tx, sql))
			}
		case 1: // a lease
			for _, sql := range statements {
				answers = append(answers, ask(ctx, db, sql))
			}
		case 2:
			answers = batch(ctx, db, statements)
		case 3:
			answers = append(answers, ask(ctx, db, statements[0]))
			for _, sql := range statements[1:] {
				answers = append(answers, ask(ctx, raw(), sql))
			}
		}
		return answers
	}
	rng := rand.New(rand.NewPCG(envSeed(t), 9))
	wrong, reads := 0, 0
	for i := range programs {
		how, end := rng.IntN(5), rng.IntN(3)
		var statements []string
		for range 1 + rng.IntN(4) {
			statements = append(statements, vocabulary[rng.IntN(len(vocabulary))])
		}
		func() {
			ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
			defer cancel()
			c, err := pgx.Connect(ctx, dsn)
			require.NoError(t, err)
			defer c.Close(ctx)
			var got, want []string
			sctx, scope := p.OpenScope(ctx, "program", time.Time{})
			switch how {
			case 4: // one statement of the pool's, each its own invocation
				for _, sql := range statements {
					got = append(got, ask(sctx, p, sql))
					one, err := pgx.Connect(ctx, dsn)
					require.NoError(t, err)
					want = append(want, ask(ctx, one, sql))
					one.Close(ctx)
				}
			default:
				l, err := p.Acquire(sctx)
				require.NoError(t, err)
				if how == 0 && end == 0 { // the pool's own, whose BEGIN may be held back
					l.Release()
					_ = pool.InTx(sctx, p, pool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
						for _, sql := range statements {
							got = append(got, ask(ctx, tx, sql))
						}
						return errRollback
					})
				} else {
					got = run(sctx, how, end, statements, l, l.Conn)
					l.Release()
				}
				want = run(ctx, how, end, statements, c, func() *pgx.Conn { return c })
			}
			scope.End()
			for _, sql := range statements {
				if strings.Contains(sql, "currval") || strings.Contains(sql, "last") || strings.Contains(sql, "reads") {
					reads++
					break
				}
			}
			if slices.Contains(want, "42P05") {
				return // pgx prepares again what its batch had prepared before it failed, and we do not
			}
			if !assert.Equal(t, want, got, "program %d: how %d, end %d: %s", i, how, end, strings.Join(statements, "; ")) {
				wrong++
			}
		}()
		if wrong > 3 {
			return
		}
	}
	t.Logf("%d programs, %d of them read, %d wrong; %d connections", programs, reads, wrong, p.Stat().NewConnsCount())
	assert.Less(t, p.Stat().NewConnsCount(), int64(max(20, programs/4)))
}

// known has a text known well enough that it does not cost a cache: it runs alone until then.
func known(t *testing.T, p *pool.Pool, run func() error) {
	t.Helper()
	for range 4 {
		require.NoError(t, run())
		eventually(t, "it was looked at", func() bool { return p.Stat().IdleConns() == 1 })
	}
}

// A default that draws from one sequence now and from another then overwrites nothing for certain.
func TestADefaultThatDrawsNowHereNowThereLeavesNothing(t *testing.T) {
	t.Parallel()
	ctx, dsn := bounded(t), pgtest.Database(t)
	newInspector(t, dsn).exec(`create sequence a; create sequence b;
		create table odd (id bigint default case when random() < 0.5 then nextval('a') else nextval('b') end, v text);
		create function has(s text) returns int language plpgsql volatile as $$ begin return (currval(s) > 0)::int; exception when object_not_in_prerequisite_state then return 0; end $$`)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1})
	const insert = "insert into odd (v) values ('x')"
	known(t, p, func() error { _, err := p.Exec(ctx, insert); return err })
	for range 40 {
		// A transaction of its own, which drops what nobody knows of and leaves what this insert has drawn, and that only.
		require.NoError(t, pgx.BeginFunc(ctx, p, func(tx pgx.Tx) error { _, err := tx.Exec(ctx, insert); return err }))
		var has int
		require.NoError(t, pgx.BeginFunc(ctx, p, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, insert); err != nil {
				return err
			}
			return tx.QueryRow(ctx, "select has('a') + has('b')").Scan(&has)
		}))
		require.Equal(t, 1, has, "its own, and no other")
	}
}

// A default that has drawn from one sequence and is altered to draw from two is looked at again.
func TestADefaultThatIsAlteredIsNotSteadyAnyMore(t *testing.T) {
	t.Parallel()
	ctx, dsn := bounded(t), pgtest.Database(t)
	see := newInspector(t, dsn)
	see.exec(`create sequence a; create sequence b; create table odd (id bigint default nextval('a'), v text);
		create function has(s text) returns int language plpgsql volatile as $$ begin return (currval(s) > 0)::int; exception when object_not_in_prerequisite_state then return 0; end $$`)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1})
	inTx := func(then func(pgx.Tx) error) {
		require.NoError(t, pgx.BeginFunc(ctx, p, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "insert into odd (v) values ('x')"); err != nil {
				return err
			}
			return then(tx)
		}))
		eventually(t, "it was looked at", func() bool { return p.Stat().IdleConns() == 1 })
	}
	for range 6 {
		inTx(func(pgx.Tx) error { return nil })
	}
	see.exec(`alter table odd alter id set default case when random() < 0.5 then nextval('a') else nextval('b') end`)
	eventually(t, "the change was seen", func() bool { inTx(func(pgx.Tx) error { return nil }); return p.Stat().Lanes().CatalogChanges > 0 })
	for range 30 {
		inTx(func(pgx.Tx) error { return nil })
		inTx(func(tx pgx.Tx) (err error) {
			var has int
			err = tx.QueryRow(ctx, "select has('a') + has('b')").Scan(&has)
			require.Equal(t, 1, has, "its own, and no other")
			return err
		})
	}
}

// An INSERT that fails before it has drawn has overwritten nothing.
func TestAnInsertThatFailsOverwritesNothing(t *testing.T) {
	t.Parallel()
	ctx, dsn := bounded(t), pgtest.Database(t)
	newInspector(t, dsn).exec(`create sequence s; create table early (x int, id bigint default nextval('s'))`)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1})
	const insert = "insert into early (x) values (1 / $1::int)"
	inTx := func(by int, then func(pgx.Tx) error) error {
		return pool.InTx(ctx, p, pool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
			_ = pgx.BeginFunc(ctx, tx, func(sp pgx.Tx) error { _, err := sp.Exec(ctx, insert, by); return err })
			return then(tx)
		})
	}
	known(t, p, func() error { return inTx(1, func(pgx.Tx) error { return nil }) })
	for by, want := range []string{"55000", ""} {
		known(t, p, func() error { return inTx(1, func(pgx.Tx) error { return nil }) })
		var pg pgconn.PgError
		found := &pg
		err := inTx(by, func(tx pgx.Tx) error { _, err := tx.Exec(ctx, "select currval('s')"); return err })
		if !errors.As(err, &found) {
			assert.NoError(t, err)
		}
		assert.Equal(t, want, found.Code)
	}
}

// A default, a view, a policy or a check may tell a value although no text names it.
func TestAValueThatTheCatalogsTellIsNobodyElses(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	newInspector(t, dsn).exec(`create sequence s; create table parent (id bigint default nextval('s'), v text);
		create table child (parent bigint default currval('s'), v text);
		create view last as select lastval() as v;
		create domain d as bigint default lastval(); create table dom (id d, v text);
		create table chk (v text check (v <> 'x' or lastval() > 0));
		create table ruled (v text); create rule r as on insert to ruled do also insert into chk values (lastval()::text);
		create table part (id bigint default lastval(), v text) partition by list (v); create table part1 partition of part default;
		create view up as select * from child; create table upd (parent bigint default currval('s'), v text); insert into upd values (1, 'x')`)
	const none = "not yet defined in this session"
	for _, sql := range []string{
		"insert into child (v) values ('x') returning parent::text",
		"select v::text from last",
		"table last",
		"insert into dom (v) values ('x') returning id::text",
		"insert into chk values ('x') returning v",
		"insert into ruled values ('x') returning v",
		"insert into part (v) values ('x') returning id::text",
		"insert into up (v) values ('x') returning parent::text",
		"update upd set parent = default returning parent::text",
	} {
		p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1})
		ctx := bounded(t)
		for range 4 {
			_, err := p.Exec(ctx, "insert into parent (v) values ($1)", "x")
			require.NoError(t, err)
			time.Sleep(20 * time.Millisecond)
			got := oneText(t, p, sql)
			assert.Contains(t, got, none, sql)
			time.Sleep(20 * time.Millisecond)
		}
		assert.Contains(t, freshText(t, dsn, sql), none, sql)
	}
}

// A view or an operator may draw although no text names it.
func TestAValueThatTheCatalogsDrawIsNotTold(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	newInspector(t, dsn).exec(`create sequence s; create view nv as select nextval('s')::text as n;
		create operator @@@ (rightarg = regclass, function = nextval);
		create view nested as select n from nv; create table w (v text); insert into w values ('1')`)
	const none = "not yet defined in this session"
	for _, sql := range []string{
		"select n from nv", "table nv", "select n from nested", "select (@@@ 's'::regclass)::text", "with x as (select * from nv) select n from x",
		"select ('s'::regclass).nextval::text", "select x.nextval::text from (select 's'::regclass) x(x)",
	} {
		p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1})
		for range 5 {
			t.Log(sql, oneText(t, p, sql))
			time.Sleep(20 * time.Millisecond)
			assert.Contains(t, oneText(t, p, "select lastval()::text"), none, sql)
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// What AfterConnect writes costs no connection, unless it draws from a sequence.
func TestAfterConnectThatWritesDrawsNothing(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	newInspector(t, dsn).exec("create table started (at timestamptz default now()); create table t (id bigserial, v text)")
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1, AfterConnect: func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, "insert into started default values")
		return err
	}})
	for range 30 {
		_, err := p.Exec(bounded(t), "insert into t (v) values ('x')")
		require.NoError(t, err)
	}
	assert.LessOrEqual(t, p.Stat().NewConnsCount(), int64(3))
}

// oneText is the first column of a query's only row, or the error.
func oneText(t *testing.T, db interface {
	QueryRow(context.Context, string, ...any) pgx.Row
}, sql string, args ...any,
) string {
	t.Helper()
	var s *string
	switch err := db.QueryRow(bounded(t), sql, args...).Scan(&s); {
	case err != nil:
		return err.Error()
	case s == nil:
		return "NULL"
	}
	return *s
}

// freshText is oneText on a new connection.
func freshText(t *testing.T, dsn, sql string, args ...any) string {
	t.Helper()
	c, err := pgx.Connect(bounded(t), dsn)
	require.NoError(t, err)
	defer c.Close(context.Background())
	return oneText(t, c, sql, args...)
}

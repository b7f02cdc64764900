package stdlib_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/pool"
	"github.com/lmipool/lmipool/stdlib"
)

// A prepared statement works on every connection, from many goroutines, in transactions and in a session of its own meaning.
func TestAStmtWorksOnEveryConnection(t *testing.T) {
	t.Parallel()
	l := newLab(t, &pool.Config{MaxConns: 3})
	l.exec("create table items as select id, 'item ' || id as name from generate_series(1, 100) id")
	ctx := t.Context()
	read, err := l.db.PrepareContext(ctx, "select name from items where id = $1")
	require.NoError(t, err)
	defer read.Close()
	write, err := l.db.Prepare("update items set name = $1 where id = $2")
	require.NoError(t, err)
	defer write.Close()
	l.idle()
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			for j := range 20 {
				id := 1 + (i*20+j)%90
				var name string
				assert.NoError(t, read.QueryRowContext(ctx, id).Scan(&name))
				assert.Equal(t, fmt.Sprintf("item %d", id), name)
				_, err := write.Exec("other", 95)
				assert.NoError(t, err)
			}
		})
	}
	wg.Wait()
	tx, err := l.db.Begin()
	require.NoError(t, err)
	_, err = tx.Stmt(write).Exec("in a transaction", 1)
	require.NoError(t, err)
	var name string
	require.NoError(t, tx.Stmt(read).QueryRow(1).Scan(&name))
	assert.Equal(t, "in a transaction", name)
	require.NoError(t, tx.Rollback())
	require.NoError(t, read.QueryRow(1).Scan(&name))
	assert.Equal(t, "item 1", name)

	c := l.conn(ctx, l.db)
	_, err = c.ExecContext(ctx, "create temporary table items as select 1 as id, 'temporary' as name, 2 as more")
	require.NoError(t, err)
	mine, err := c.PrepareContext(ctx, "select name, more from items where id = $1 and more = $2")
	require.NoError(t, err, "the text is described in its session")
	require.NoError(t, mine.QueryRow(1, 2).Scan(&name, new(int)))
	assert.Equal(t, "temporary", name)
	require.NoError(t, mine.Close())
	require.NoError(t, c.Close())
	_, err = l.db.Prepare("select name, more from items where id = $1 and more = $2")
	assert.Equal(t, "42703", code(err), "what a session knows is not remembered for others")

	// A wrong text and a wrong number of arguments are found where pgx finds them.
	for _, text := range []string{"selec 1", "select no_such_column from items", "select 1; select 2", "select $1::no_such_type"} {
		_, err := l.db.Prepare(text)
		_, want := l.pgx.Prepare(text)
		assert.IsType(t, want, err)
		assert.Equal(t, code(want), code(err), text)
	}
	_, err = read.Query(1, 2)
	assert.EqualError(t, err, "sql: expected 1 arguments, got 2")
	_, err = read.Query()
	assert.EqualError(t, err, "sql: expected 1 arguments, got 0")
	l.idle()
}

// code is the SQLSTATE of err, or a word for what err is instead.
func code(err error) string {
	var pg *pgconn.PgError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &pg):
		return pg.Code
	case errors.Is(err, sql.ErrNoRows), errors.Is(err, sql.ErrTxDone), errors.Is(err, sql.ErrConnDone):
		return err.Error()
	}
	return "an error"
}

func TestATxIsWhatItsOptionsSay(t *testing.T) {
	t.Parallel()
	l := newLab(t, &pool.Config{MaxConns: 2})
	l.exec("create table items (id int)")
	for _, o := range []sql.TxOptions{
		{},
		{ReadOnly: true},
		{Isolation: sql.LevelReadUncommitted},
		{Isolation: sql.LevelReadCommitted},
		{Isolation: sql.LevelRepeatableRead},
		{Isolation: sql.LevelSnapshot},
		{Isolation: sql.LevelSerializable, ReadOnly: true},
		{Isolation: sql.LevelLinearizable},
		{Isolation: sql.LevelWriteCommitted},
	} {
		see := func(db *sql.DB) (seen []string) {
			tx, err := db.BeginTx(t.Context(), &o)
			if err != nil {
				return []string{"refused"}
			}
			defer tx.Rollback()
			for _, q := range []string{"show transaction_isolation", "show transaction_read_only"} {
				var s string
				assert.NoError(t, tx.QueryRow(q).Scan(&s))
				seen = append(seen, s)
			}
			_, err = tx.Exec("insert into items values (1)")
			return append(seen, code(err), code(tx.Commit()))
		}
		assert.Equal(t, see(l.pgx), see(l.db), "%+v", o)
	}
	assert.Equal(t, one[int](t, l.pgx, "select count(*) from items"), 2*5)

	// Two of them see what PostgreSQL lets them see.
	first, err := l.db.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
	require.NoError(t, err)
	var n, m int
	require.NoError(t, first.QueryRow("select count(*) from items").Scan(&n))
	_, err = l.db.Exec("insert into items values (2)")
	require.NoError(t, err)
	require.NoError(t, first.QueryRow("select count(*) from items").Scan(&m))
	assert.Equal(t, n, m)
	require.NoError(t, first.Commit())
	_, err = first.Exec("select 1")
	assert.ErrorIs(t, err, sql.ErrTxDone)
	l.idle()
}

// golang-migrate and others assert err.(*pgconn.PgError), without errors.As.
func TestAnErrorOfTheServerIsAPgErrorItself(t *testing.T) {
	t.Parallel()
	l := newLab(t, &pool.Config{MaxConns: 1})
	l.exec("create table items (id int primary key); insert into items values (1)")
	const read = "select 10 / (id - 1) from items"
	l.teach("select 10 / (id - 2) from items")
	bare := func(err error, want string) {
		t.Helper()
		pg, ok := err.(*pgconn.PgError) //nolint:errorlint // this is what others do
		if assert.True(t, ok, "%T %v", err, err) {
			assert.Equal(t, want, pg.Code)
		}
	}
	_, err := l.db.Exec("insert into items values (1)")
	bare(err, "23505")
	_, err = l.db.Exec("insert into items values (1); select 1")
	bare(err, "23505")
	_, err = l.db.Exec("select * from nothing")
	bare(err, "42P01")
	bare(l.db.QueryRow(read).Scan(new(int)), "22012")
	_, err = l.db.Query("select * from nothing", 1)
	_, want := l.pgx.Query("select * from nothing", 1)
	assert.IsType(t, want, err, "pgx has a type of its own for what cannot be prepared")
	c := l.conn(t.Context(), l.db)
	_, err = c.ExecContext(t.Context(), "do $$ begin raise 'no' using errcode = '55000'; end $$")
	bare(err, "55000")
	bare(c.QueryRowContext(t.Context(), read).Scan(new(int)), "22012")
	require.NoError(t, c.Close())
	tx, err := l.db.Begin()
	require.NoError(t, err)
	_, err = tx.Exec("selec")
	bare(err, "42601")
	_, err = tx.Exec("select 1")
	bare(err, "25P02")
	require.NoError(t, tx.Rollback())
	const asked = "select 10 / (id - $1) from items"
	var mu sync.Mutex
	var errs []error
	ask := func() {
		err := l.db.QueryRow(asked, 1).Scan(new(int))
		mu.Lock()
		defer mu.Unlock()
		errs = append(errs, err)
	}
	l.teach(asked, 2)
	right := func() { assert.NoError(t, l.db.QueryRow(asked, 2).Scan(new(int))) }
	require.Eventually(t, func() bool { return l.together(right, right, right) == 3 }, 20*time.Second, time.Millisecond)
	require.Eventually(t, func() bool { return l.together(ask, ask, ask) == 3 }, 20*time.Second, time.Millisecond)
	for _, err := range errs {
		bare(err, "22012")
	}
}

// A *sql.DB of With has its tenant's settings in every statement, transaction and session.
func TestATenantsDBHasItsSettings(t *testing.T) {
	t.Parallel()
	l := newLab(t, &pool.Config{MaxConns: 2})
	l.exec(`create table notes (id serial, tenant text default current_setting('app.tenant'), body text);
		create role reader; grant select, insert, update on notes to reader; grant usage on sequence notes_id_seq to reader;
		alter table notes enable row level security; create policy own on notes using (tenant = current_setting('app.tenant'));`)
	t.Cleanup(func() { l.exec("drop table notes; drop role reader") })
	var wg sync.WaitGroup
	for _, tenant := range []string{"a", "b", "c"} {
		db := l.open(l.p.With(map[string]string{"app.tenant": tenant, "role": "reader"}))
		free := l.open(l.p.With(map[string]string{"app.tenant": tenant}))
		wg.Go(func() {
			for i := range 15 {
				_, err := db.Exec("insert into notes (body) values ($1)", tenant)
				assert.NoError(t, err)
				assert.Equal(t, i+1, one[int](t, db, "select count(*) from notes"))
				assert.Equal(t, tenant, one[string](t, free, "select current_setting('app.tenant')"))
				tx, err := db.Begin()
				if assert.NoError(t, err) {
					var other int
					assert.NoError(t, tx.QueryRow("select count(*) from notes where body <> $1", tenant).Scan(&other))
					assert.Zero(t, other)
					assert.NoError(t, tx.Commit())
				}
			}
		})
	}
	wg.Wait()
	assert.Equal(t, "", one[string](t, l.db, "select coalesce(current_setting('app.tenant', true), '')"))
	bad := l.open(l.p.With(map[string]string{"app.tenant": "a", "no such": "x"}))
	_, err := bad.Exec("select 1")
	assert.Error(t, err)
	assert.Error(t, bad.Ping())
}

// Plain's and the other switches' pools are under a *sql.DB as well.
func TestEverySwitchHasADB(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]*pool.Config{
		"plain": {Plain: pool.On}, "no lanes": {Lanes: pool.Off}, "no isolation": {Isolation: pool.Off}, "shadow": {Lanes: pool.Shadow},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.MaxConns = 2
			l := newLab(t, c)
			ctx := t.Context()
			_, err := l.db.Exec("create table items (id serial, name text)")
			require.NoError(t, err)
			s, err := l.db.Prepare("insert into items (name) values ($1)")
			require.NoError(t, err)
			for i := range 5 {
				_, err = s.Exec(fmt.Sprint("item ", i))
				require.NoError(t, err)
			}
			require.NoError(t, s.Close())
			assert.Equal(t, 5, one[int](t, l.db, "select count(*) from items"))
			tx, err := l.db.Begin()
			require.NoError(t, err)
			_, err = tx.Exec("delete from items")
			require.NoError(t, err)
			require.NoError(t, tx.Rollback())
			conn := l.conn(ctx, l.db)
			_, err = conn.ExecContext(ctx, "set app.x = 'y'")
			require.NoError(t, err)
			assert.Equal(t, "y", one[string](t, conn, "select current_setting('app.x')"))
			require.NoError(t, conn.Close())
			assert.Equal(t, 5, one[int](t, l.db, "select count(*) from items"))
			l.idle()
			require.NoError(t, l.db.Ping())
		})
	}
}

// Stats counts virtual connections, which are kept, and of which there is no ceiling.
func TestStatsCountsVirtualConnections(t *testing.T) {
	t.Parallel()
	l := newLab(t, &pool.Config{MaxConns: 2})
	var conns []*sql.Conn
	for range 50 {
		conns = append(conns, l.conn(t.Context(), l.db))
	}
	assert.Equal(t, 50, l.db.Stats().OpenConnections)
	assert.Zero(t, l.p.Stat().TotalConns(), "nothing was dialed")
	for _, c := range conns {
		require.NoError(t, c.Close())
	}
	assert.Equal(t, 50, l.db.Stats().Idle)
	require.NoError(t, l.db.Close())
	assert.Error(t, l.db.Ping())
	require.NoError(t, l.p.Ping(context.Background()), "the pool is not closed with it")
}

// Values and columns are those of pgx's stdlib, whether a read rides or goes alone.
func TestValuesAndColumnsArePgxs(t *testing.T) {
	t.Parallel()
	l := newLab(t, &pool.Config{MaxConns: 1})
	l.exec("create type mood as enum ('sad', 'ok'); create domain positive as int check (value > 0); create type pair as (a int, b text)")
	var texts []string
	for _, v := range []string{
		"true", "false", "1::int2", "-7", "9223372036854775807", "1.5::float4", "'NaN'::float8", "'-Infinity'::float8", "12.340::numeric(10,3)", "'NaN'::numeric", "1e100::numeric",
		"'x'", "''", "'x'::varchar(7)", "'x'::char(5)", "'x'::name", `'\xdeadbeef'::bytea`, "''::bytea", "b'101'", "b'101'::varbit(9)",
		"'2024-02-29'::date", "'infinity'::date", "'0044-03-15 BC'::date", "'2024-02-29 12:34:56.789'::timestamp", "'infinity'::timestamp", "'2024-02-29 12:34:56.789+05:30'::timestamptz", "'-infinity'::timestamptz",
		"'12:34:56'::time", "'12:34:56+02'::timetz", "'1 year 2 mons 3 days 04:05:06.7'::interval", `'{"a": [1, null]}'::json`, `'{"a": [1, null]}'::jsonb`, "'null'::jsonb",
		"'7f3c1d1e-9c4b-4b8e-8a43-3f0f5d1c2b1a'::uuid", "'10.0.0.0/8'::inet", "'10.0.0.0/8'::cidr", "'08:00:2b:01:02:03'::macaddr", "'(1,2)'::point", "'$1.50'::money",
		"array[1, null, 3]", "array['a', null, 'b \"c']", "'{}'::int[]", "int4range(1, 5)", "'{[1,3),[5,7)}'::int4multirange", "'pg_class'::regclass", "26::oid", "'7'::xid", "'7'::cid", "'(0,1)'::tid", "'16/B374D848'::pg_lsn",
		"'sad'::mood", "7::positive", "row(1, 'x')::pair", "'a & b'::tsquery", "'a b'::tsvector", "'$.a'::jsonpath", "'c'::\"char\"", "null::int", "null::text", "null::bytea", "null::timestamptz", "null::jsonb",
	} {
		texts = append(texts, "select "+v+" as v, 'more' from (values (1)) x", "select "+v+" as v where false")
	}
	texts = append(texts, "select", "select from (values (1), (2)) x", "select id, id::text, case when id % 3 = 0 then null else id * 1.5 end from generate_series(1, 30) id", "select 1 / (3 - id) from generate_series(1, 5) id")
	for _, text := range texts {
		want := seen(l.pgx.Query(text))
		assert.Equal(t, want, seen(l.db.Query(text)), text)
		assert.Equal(t, want, seen(l.db.Query(text)), text)
	}
	var fs []func()
	for i, text := range texts {
		want := seen(l.pgx.Query(text))
		fs = append(fs, func() { assert.Equal(t, want, seen(l.db.Query(text)), text) })
		if len(fs) == 25 || i == len(texts)-1 {
			most := int64(0)
			for range 60 {
				most = max(most, l.together(fs...))
				if most >= int64(len(fs))*3/4 {
					break
				}
				time.Sleep(30 * time.Millisecond) // an idle connection looks at texts that are not known yet
			}
			t.Logf("of %d, %d rode", len(fs), most)
			assert.GreaterOrEqual(t, most, int64(len(fs))/2, "most ride")
			fs = nil
		}
	}
	for _, arg := range []any{
		7, int64(7), "7", 7.5, true, []byte("7"), nil, time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC),
		sql.NullString{},
		sql.NullInt64{Int64: 7, Valid: true},
		pgtype.Int4{Int32: 7, Valid: true},
		[]int{1, 2},
		[]string{"a"},
		map[string]int{"a": 1},
		struct{}{},
		sql.Named("name", 7), make(chan int),
	} {
		for _, text := range []string{"select $1::text", "select $1::int", "select $1::int[]::text", "select $1::jsonb", "select $1::timestamptz"} {
			want, got := seen(l.pgx.Query(text, arg)), seen(l.db.Query(text, arg))
			assert.Equal(t, want, got, "%s %v", text, arg)
		}
	}
}

// seen is all that rows show, and the error's SQLSTATE.
func seen(rows *sql.Rows, err error) (all []any) {
	if err != nil {
		return []any{code(err)}
	}
	defer rows.Close()
	types, err := rows.ColumnTypes()
	all = append(all, err)
	for _, c := range types {
		length, has := c.Length()
		precision, scale, is := c.DecimalSize()
		all = append(all, c.Name(), c.DatabaseTypeName(), length, has, precision, scale, is, c.ScanType().String())
	}
	for rows.Next() {
		values, dest := make([]any, len(types)), make([]any, len(types))
		for i := range values {
			dest[i] = &values[i]
		}
		all = append(all, code(rows.Scan(dest...)))
		for _, v := range values {
			all = append(all, fmt.Sprintf("%T %v", v, v)) // NaN is no number
		}
	}
	return append(all, code(rows.Err()), rows.Close())
}

func TestANilPoolIsASentence(t *testing.T) {
	assert.PanicsWithValue(t, "stdlib: the pool is nil: look at Open's error before its result is used", func() { stdlib.OpenDB(nil) })
}

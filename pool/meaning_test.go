package pool_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// meaningSchema has a table, an enum and a function in each of two schemas and in that of a role,
// and functions that set what decides the meaning of a text.
const meaningSchema = `
create schema a; create schema b; create schema other_role authorization %[1]s;
create table public.t (at timestamptz, n text default 'public');
create table a.t (at date, n text default 'a');
create table b.t (at timestamptz, n text default 'b');
create table other_role.t (at date, n text default 'role');
insert into public.t values ('2024-01-01 00:00+00'); insert into a.t values ('2024-01-01'); insert into b.t values ('2024-01-01 00:00+00'); insert into other_role.t values ('2024-01-01');
create type a.e as enum ('x', 'y'); create type b.e as enum ('x', 'y');
create table a.enums (v a.e); create table b.enums (v b.e); insert into a.enums values ('x'); insert into b.enums values ('x');
create function sets(name text, value text) returns text language plpgsql as $$ begin return set_config(name, value, false); end $$;
create function sets_local(name text, value text) returns text language plpgsql as $$ begin return set_config(name, value, true); end $$;
create function inside() returns float8 language plpgsql as $$ begin return extract(epoch from timestamptz '2024-01-01'); end $$;
create table fires (name text, value text);
create function fired() returns trigger language plpgsql as $$ begin perform set_config(new.name, new.value, false); return new; end $$;
create trigger fires before insert on fires for each row execute function fired();
`

// meaningDatabase returns a connection string, and a role whose schema is other_role's.
func meaningDatabase(t *testing.T) (dsn, role string) {
	t.Helper()
	dsn = pgtest.Database(t)
	c, err := pgx.Connect(bounded(t), dsn)
	require.NoError(t, err)
	defer c.Close(context.Background())
	role = "role_" + c.Config().Database
	_, err = c.Exec(bounded(t), "create role "+role+"; "+fmt.Sprintf(meaningSchema, role)+`
		alter schema other_role rename to `+role+`; grant all on all tables in schema public, a, b, `+role+` to `+role+`;
		grant usage on schema public, a, b, `+role+` to `+role)
	require.NoError(t, err)
	t.Cleanup(func() {
		c, err := pgx.Connect(context.Background(), dsn)
		if err == nil {
			_, _ = c.Exec(context.Background(), "drop owned by "+role+" cascade; drop role "+role)
			c.Close(context.Background())
		}
	})
	return dsn, role
}

// meanings are texts whose meaning is decided by settings; each has one column that becomes a string.
var meanings = []string{
	"select extract(epoch from timestamptz '2024-01-01')::text where $1 <> ''",
	"select (date '01/02/2024')::text || to_char(date '01/02/2024', 'YYYYMMDD') where $1 <> ''",
	"select extract(epoch from interval '-1 2:03:04')::text where $1 <> ''",
	"select coalesce(('{NULL}'::text[])[1], 'null') where $1 <> ''",
	"select ($1::text = null)::text",
	`select 'a\\b' || $1`,
	"select n from t where $1 <> '' limit 1",
	"select current_setting('TimeZone') || $1",
	"select xmlserialize(content xml 'abc' as text) where $1 <> ''",
	"select inside()::text where $1 <> ''",
	"select (0.1::float8 + 0.2::float8)::text || $1", // computed when it is planned, as the next two
	"select quote_ident('abc') || $1",
	`select ('\x41'::bytea)::text || $1`,
	"select regexp_replace(relnamespace::regnamespace::text, 'temp_.*', 'temp') from pg_class where oid = 't'::regclass and $1 <> ''",
}

// deciding are settings that decide meanings, each with a value that is not the default.
func deciding(role string) [][2]string {
	return [][2]string{
		{"TimeZone", "Asia/Tokyo"},
		{"DateStyle", "ISO, DMY"},
		{"IntervalStyle", "sql_standard"},
		{"array_nulls", "off"},
		{"transform_null_equals", "on"},
		{"standard_conforming_strings", "off"},
		{"xmloption", "document"},
		{"search_path", "a"},
		{"extra_float_digits", "-5"},
		{"quote_all_identifiers", "on"},
		{"bytea_output", "escape"},
		{"role", role},
	}
}

// a way to set something for a lease, and whether a new connection can do it too.
type setter struct {
	name string
	set  func(ctx context.Context, q querier, name, value string) error
	tx   bool // in a transaction only
}

type querier interface {
	runner
	QueryRow(context.Context, string, ...any) pgx.Row
	SendBatch(context.Context, *pgx.Batch) pgx.BatchResults
}

func say(ctx context.Context, q querier, sql string, args ...any) error {
	_, err := q.Exec(ctx, sql, args...)
	return err
}

var setters = []setter{
	{"set", func(ctx context.Context, q querier, n, v string) error { return say(ctx, q, "set "+n+" = '"+v+"'") }, false},
	{"set local", func(ctx context.Context, q querier, n, v string) error {
		return say(ctx, q, "set local "+n+" = '"+v+"'")
	}, true},
	{"set_config", func(ctx context.Context, q querier, n, v string) error {
		return say(ctx, q, "select set_config('"+n+"', $1, false)", v)
	}, false},
	{"set_config of a parameter", func(ctx context.Context, q querier, n, v string) error {
		return say(ctx, q, "select set_config($1, $2, true)", n, v)
	}, true},
	{"function", func(ctx context.Context, q querier, n, v string) error {
		return say(ctx, q, "select sets($1, $2)", n, v)
	}, false},
	{"local function", func(ctx context.Context, q querier, n, v string) error {
		return say(ctx, q, "select sets_local($1, $2)", n, v)
	}, true},
	{"do", func(ctx context.Context, q querier, n, v string) error {
		return say(ctx, q, "do $$ begin perform set_config('"+n+"', '"+v+"', false); end $$")
	}, false},
	{"two statements", func(ctx context.Context, q querier, n, v string) error {
		return say(ctx, q, "select 1; set "+n+" = '"+v+"'")
	}, false},
	{"trigger", func(ctx context.Context, q querier, n, v string) error {
		return say(ctx, q, "insert into public.fires values ($1, $2)", n, v)
	}, false},
	{"batch", func(ctx context.Context, q querier, n, v string) error {
		b := &pgx.Batch{}
		b.Queue("select set_config($1, $2, false)", n, v)
		return q.SendBatch(ctx, b).Close()
	}, false},
}

// batched asks in a batch what QueryRow asks one by one.
type batched struct{ querier }

func (b batched) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	q := &pgx.Batch{}
	q.Queue(sql, args...)
	return batchedRow{b.SendBatch(ctx, q)}
}

type batchedRow struct{ pgx.BatchResults }

func (r batchedRow) Scan(dest ...any) error {
	err := r.QueryRow().Scan(dest...)
	if cerr := r.Close(); err == nil {
		err = cerr
	}
	return err
}

// With LMIPOOL_TEST_PROGRAMS each mode has all cases, and otherwise a third of them, so that the three modes together have all.
//
// Under whatever settings and however they were set, a lease answers what a new connection answers, though
// the same texts were prepared before in a clean session; and the next invocation answers what a new connection answers
// without them.
func TestATextMeansWhatItMeansOnANewConnection(t *testing.T) {
	t.Parallel()
	dsn, role := meaningDatabase(t)
	for first, mode := range []string{"cache_statement", "cache_describe", "describe_exec"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
			defer cancel()
			dsn := dsn + "&default_query_exec_mode=" + mode
			p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1})
			px := newPgxpool(t, dsn)
			clean := oneByOne(ctx, t, p)
			pgxClean := oneByOne(ctx, t, px)
			require.Equal(t, pgxClean, clean)
			theirs, n, left := 0, 0, first
			for _, f := range deciding(role) {
				for _, s := range setters {
					for _, inBatch := range []bool{false, true} {
						if left++; left%3 != 0 && os.Getenv("LMIPOOL_TEST_PROGRAMS") == "" {
							continue
						}
						run := func(q querier) map[string]string {
							require.NoError(t, s.set(ctx, q, f[0], f[1]))
							if inBatch {
								q = batched{q}
							}
							return oneByOne(ctx, t, q)
						}
						name := fmt.Sprintf("%s by %s, batch %v", f[0], s.name, inBatch)
						want := onNew(ctx, t, dsn, s.tx, run)
						require.NoError(t, pgxpoolRuns(ctx, px, s.tx, run))
						got := map[string]string{}
						require.NoError(t, lmipoolRuns(ctx, p, s.tx, func(q querier) { got = run(q) }))
						assert.Equal(t, want, got, name)
						assert.Equal(t, clean, oneByOne(ctx, t, p), "the next after %s", name)
						n++
						if !assert.ObjectsAreEqual(clean, oneByOne(ctx, t, px)) {
							theirs++
						}
						px.Reset()
						if t.Failed() {
							return
						}
					}
				}
			}
			t.Logf("%s: %d cases, 0 foreign answers; pgxpool: %d", mode, n, theirs)
		})
	}
}

// oneByOne are answers, each behind a savepoint if q is a transaction: an error is an answer too.
func oneByOne(ctx context.Context, t *testing.T, q querier) map[string]string {
	t.Helper()
	base := q
	if b, ok := q.(batched); ok {
		base = b.querier
	}
	_, tx := base.(pgx.Tx)
	all := map[string]string{}
	for _, sql := range meanings {
		if tx {
			require.NoError(t, say(ctx, base, "savepoint s"))
		}
		var s *string
		switch err := q.QueryRow(ctx, sql, "x").Scan(&s); {
		case err != nil:
			all[sql] = "error"
		case s == nil:
			all[sql] = "null"
		default:
			all[sql] = *s
		}
		if tx && all[sql] == "error" {
			require.NoError(t, say(ctx, base, "rollback to savepoint s"))
		}
	}
	return all
}

func onNew(ctx context.Context, t *testing.T, dsn string, inTx bool, run func(querier) map[string]string) (got map[string]string) {
	t.Helper()
	c, err := pgx.Connect(ctx, dsn)
	require.NoError(t, err)
	defer c.Close(ctx)
	if !inTx {
		return run(c)
	}
	_ = pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error { got = run(tx); return nil })
	return got
}

func pgxpoolRuns(ctx context.Context, px *pgxpool.Pool, inTx bool, run func(querier) map[string]string) error {
	if inTx {
		return pgx.BeginFunc(ctx, px, func(tx pgx.Tx) error { run(tx); return nil })
	}
	return px.AcquireFunc(ctx, func(c *pgxpool.Conn) error { run(c); return nil })
}

func lmipoolRuns(ctx context.Context, p *pool.Pool, inTx bool, run func(querier)) error {
	if inTx {
		return pool.InTx(ctx, p, pool.TxOptions{}, func(_ context.Context, tx pgx.Tx) error { run(tx); return nil })
	}
	return p.AcquireFunc(ctx, func(l *pool.Lease) error { run(l); return nil })
}

func newPgxpool(t *testing.T, dsn string) *pgxpool.Pool {
	t.Helper()
	c, err := pgxpool.ParseConfig(dsn)
	require.NoError(t, err)
	c.MaxConns = 1
	px, err := pgxpool.NewWithConfig(context.Background(), c)
	require.NoError(t, err)
	t.Cleanup(px.Close)
	return px
}

// What a function has planned while another had a setting changed is not kept for the next user.
func TestPlansOfAFunctionThatSetsAreDropped(t *testing.T) {
	dsn, _ := meaningDatabase(t)
	newInspector(t, dsn).exec(`
		create function report() returns float8 language plpgsql set TimeZone = 'Asia/Tokyo' as $$ begin return inside(); end $$;
		create function report2() returns float8 language plpgsql as $$ declare r float8; begin perform set_config('TimeZone', 'Asia/Tokyo', true); r := inside(); perform set_config('TimeZone', 'UTC', true); return r; end $$;
		create function report3() returns float8 language plpgsql as $$ begin perform set_config('TimeZone', 'Asia/Tokyo', true); return inside(); end $$;`)
	for _, f := range []string{"report", "report2", "report3"} {
		p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1})
		ctx := bounded(t)
		for range 3 {
			_, err := p.Exec(ctx, "select "+f+"()")
			require.NoError(t, err)
		}
		assert.Equal(t, freshText(t, dsn, "select inside()::text"), oneText(t, p, "select inside()::text"), f)
	}
}

// Such a function does not ride, whoever has vouched for it: nothing drops plans in a lane.
func TestAFunctionThatSetsDoesNotRide(t *testing.T) {
	dsn, _ := meaningDatabase(t)
	newInspector(t, dsn).exec(`create function report(int) returns float8 language plpgsql stable set TimeZone = 'Asia/Tokyo' as $$ begin return inside(); end $$`)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1, LaneFunctions: []string{"report"}})
	ctx := bounded(t)
	for range 20 {
		together(8, func(i int) {
			var f float64
			assert.NoError(t, p.QueryRow(ctx, "select report($1)", i).Scan(&f))
			assert.InDelta(t, 1704034800, f, 0)
		})
	}
	assert.Equal(t, freshText(t, dsn, "select inside()::text"), oneText(t, p, "select inside()::text"))
}

package pool_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// tenants is a pool whose user sees of table docs the rows of app.tenant, and of table
// strict too, which is an error without.
type tenants struct {
	*pool.Pool
	dsn  string
	role string
	see  *inspector
	tap  *tap
}

func tenant(name string) map[string]string { return map[string]string{"app.tenant": name} }

func newTenants(t testing.TB, c pool.Config) *tenants {
	t.Helper()
	dsn := pgtest.Database(t)
	b := &tenants{dsn: dsn, see: newInspector(t, dsn), tap: &tap{}}
	role := "user_" + strings.ToLower(rand.Text())
	for _, sql := range []string{
		"create role " + role + " login",
		"create role other_" + role,
		"grant other_" + role + " to " + role,
		"create table docs (tenant text, id int, v text default 'v', primary key (tenant, id))",
		"insert into docs select 't' || t, i from generate_series(0, 19) t, generate_series(1, 3) i",
		"create table strict as select substr(tenant, 2)::int as tenant, id from docs",
		"alter table docs enable row level security",
		"alter table strict enable row level security",
		"create policy own on docs using (tenant = current_setting('app.tenant', true))",
		"create policy own on strict using (tenant = current_setting('app.number')::int)",
		"create table seen (who text default current_setting('app.tenant', true), v text)",
		"create schema x; create table x.here as select 'x' as v; create schema y; create table y.here as select 'y' as v",
		"grant all on schema public, x, y to public; grant all on all tables in schema public, x, y to public",
	} {
		b.see.exec(sql)
	}
	t.Cleanup(func() {
		b.see.exec("drop owned by " + role + ", other_" + role + "; drop role " + role + ", other_" + role)
	})
	b.role = role
	b.open(t, dsn, c)
	return b
}

func (b *tenants) open(t testing.TB, dsn string, c pool.Config) {
	t.Helper()
	config := b.tap.config(c)
	tapping := config.BeforeConnect
	config.BeforeConnect = func(ctx context.Context, cc *pgx.ConnConfig) error {
		cc.User = b.role
		return tapping(ctx, cc)
	}
	b.Pool = newPoolAt(t, dsn, config)
	b.NeverSlow()
}

func (b *tenants) idle(t testing.TB) {
	eventually(t, "all is done", func() bool { return b.Stat().IdleConns() == b.Stat().TotalConns() })
}

type rowQuerier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// value is the one value of a query, or its error.
func value(ctx context.Context, db rowQuerier, sql string, args ...any) string {
	var s string
	if err := db.QueryRow(ctx, sql, args...).Scan(&s); err != nil {
		return err.Error()
	}
	return s
}

const whoAmI = "select coalesce(current_setting('app.tenant', true), '')"

// Whatever it runs, by whatever method, it runs with the settings, and nothing after it does.
func TestEverythingOfABoundPoolRunsWithItsSettings(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"", "cache_describe", "describe_exec", "plain", "isolation off"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			ctx := bounded(t)
			c := pool.Config{MaxConns: 1, Plain: on(mode == "plain")}
			if mode == "isolation off" {
				c.Isolation, mode = pool.Off, ""
			}
			b := newTenants(t, c)
			if mode != "" && mode != "plain" {
				b.open(t, b.dsn+"&default_query_exec_mode="+mode, c)
			}
			for round := range 3 {
				me := fmt.Sprint("t", round)
				db := b.With(tenant(me))
				none := func(what string) {
					t.Helper()
					assert.Empty(t, value(ctx, b, whoAmI), what)
					assert.Equal(t, "0", value(ctx, b, "select count(*)::text from docs"), what)
				}
				none("before")
				assert.Equal(t, me, value(ctx, db, whoAmI))
				none("QueryRow")
				assert.Equal(t, me, value(ctx, db, "show app.tenant"), "a command")
				none("show")

				rows, err := db.Query(ctx, "select tenant from docs")
				require.NoError(t, err)
				seen, err := pgx.CollectRows(rows, pgx.RowTo[string])
				require.NoError(t, err)
				assert.Equal(t, []string{me, me, me}, seen)
				none("Query")

				for _, sql := range []string{
					"update docs set v = 'w'", // without arguments
					"with u as (update docs set v = 'w' returning 1) select * from u",
					"create temporary table mine on commit drop as select * from docs",
					"do $$ begin update docs set v = current_setting('app.tenant'); end $$",
				} {
					tag, err := db.Exec(ctx, sql)
					require.NoError(t, err, sql)
					if !strings.HasPrefix(sql, "do") {
						assert.EqualValues(t, 3, tag.RowsAffected(), sql)
					}
					none(sql)
				}
				assert.Equal(t, me, value(ctx, db, "select min(v) from docs"))
				assert.Equal(t, "3", value(ctx, db, "select $1::int::text", 3))
				assert.Equal(t, me, value(ctx, db, "select current_setting(@name)", pgx.NamedArgs{"name": "app.tenant"}))

				var q pgx.Batch
				q.Queue("update docs set v = $1", "batch")
				q.Queue(whoAmI).QueryRow(func(r pgx.Row) error {
					var s string
					err := r.Scan(&s)
					assert.Equal(t, me, s)
					return err
				})
				q.Queue("insert into seen values (current_setting('app.tenant'), 'batch')")
				require.NoError(t, db.SendBatch(ctx, &q).Close())
				none("SendBatch")

				n, err := db.CopyFrom(ctx, pgx.Identifier{"seen"}, []string{"v"}, pgx.CopyFromRows([][]any{{"copy"}}))
				require.NoError(t, err)
				assert.EqualValues(t, 1, n)
				_, err = db.CopyFrom(ctx, pgx.Identifier{"docs"}, []string{"tenant"}, pgx.CopyFromRows([][]any{{me}}))
				assert.ErrorContains(t, err, "row-level security", "PostgreSQL's own limit")
				none("CopyFrom")

				for _, opts := range []pgx.TxOptions{{}, {IsoLevel: pgx.Serializable, AccessMode: pgx.ReadOnly, DeferrableMode: pgx.Deferrable}} {
					require.NoError(t, pgx.BeginTxFunc(ctx, db, opts, func(tx pgx.Tx) error {
						assert.Equal(t, me, value(ctx, tx, whoAmI))
						assert.ErrorContains(t, pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
							_, err := tx.Exec(ctx, "set local app.tenant = 't19'; select 1/0")
							return err
						}), "division by zero")
						assert.Equal(t, me, value(ctx, tx, whoAmI), "after a savepoint")
						if opts.IsoLevel != "" {
							assert.Equal(t, "serializable", value(ctx, tx, "show transaction_isolation"))
						}
						return nil
					}))
					none("BeginTx")
				}
				nested := db.With(map[string]string{"APP.Other": "o"})
				assert.Equal(t, me+"o", value(ctx, nested, whoAmI+" || current_setting('app.other')"))
				assert.Equal(t, "t9o", value(ctx, nested.With(tenant("t9")), whoAmI+" || current_setting('app.other')"), "the inner wins")
				assert.Empty(t, value(ctx, db, "select coalesce(current_setting('app.other', true), '')"))
				require.NoError(t, db.Ping(ctx))
			}
			assert.Equal(t, 6, b.see.count("select count(*) from seen where who like 't_'"))
			assert.EqualValues(t, 1, b.Stat().TotalConns())
		})
	}
}

func TestSettingsCostNoRoundTrip(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newTenants(t, pool.Config{MaxConns: 1, Lanes: pool.Off})
	db := b.With(tenant("t1"))
	ask := func() { assert.Equal(t, "3", value(ctx, db, "select count($1::int)::text from docs", 1)) }
	begin := func() {
		assert.NoError(t, pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
			assert.Equal(t, "3", value(ctx, tx, "select count($1::int)::text from docs", 1))
			return nil
		}))
	}
	ask()
	ask() // the second time it is looked at
	b.idle(t)
	b.tap.reset()
	ask()
	assert.Equal(t, []string{"BEBES"}, b.tap.since())
	begin()
	assert.Equal(t, []string{"PBEBEPBDES", "BES", "Q"}, b.tap.since(), "BEGIN, the settings and a statement that does nothing, in one segment")

	var q pgx.Batch
	q.Queue("select count($1::int)::text from docs", 1)
	q.Queue("select count($1::int)::text from docs", 1)
	require.NoError(t, db.SendBatch(ctx, &q).Close())
	assert.Equal(t, []string{"BEBEBES"}, b.tap.since())

	// Another tenant's are other values of the same statement; two are another statement.
	assert.Equal(t, "3", value(ctx, b.With(tenant("t2")), "select count($1::int)::text from docs", 1))
	assert.Equal(t, []string{"BEBES"}, b.tap.since())
	two := db.With(map[string]string{"app.user": "me"})
	assert.Equal(t, "3", value(ctx, two, "select count($1::int)::text from docs", 1))
	assert.Equal(t, []string{"CPBEBES"}, b.tap.since())
	assert.Equal(t, "3", value(ctx, two, "select count($1::int)::text from docs", 1))
	assert.Equal(t, []string{"BEBES"}, b.tap.since(), "and nothing of it is unknown")

	// A reset that is due goes in front of all.
	sent := leaving(t, ctx, b.Pool, b.tap, "set work_mem = '9MB'", ask)
	assert.Equal(t, []string{"QQBEBES"}, sent)
	sent = leaving(t, ctx, b.Pool, b.tap, "set work_mem = '9MB'", begin)
	assert.Equal(t, []string{"QQPBEBEPBDES", "BES", "Q"}, sent)
}

// Somebody drops what the connection has prepared, and without isolation nobody minds.
func TestSettingsSurviveTheirStatement(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newTenants(t, pool.Config{MaxConns: 1, Lanes: pool.Off, Isolation: pool.Off})
	db := b.With(tenant("t1"))
	for range 2 {
		for _, use := range []func(){
			func() { assert.Equal(t, "t1", value(ctx, db, "select tenant from docs limit $1", 1)) },
			func() { assert.NoError(t, pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error { return nil })) },
			func() { _, err := db.Exec(ctx, "select $1::int", 1); assert.NoError(t, err) },
			func() {
				rows, err := db.Query(ctx, "select tenant from docs where id = $1", 1)
				require.NoError(t, err)
				seen, err := pgx.CollectRows(rows, pgx.RowTo[string])
				assert.NoError(t, err)
				assert.Equal(t, []string{"t1"}, seen)
			},
		} {
			use()
			_, err := b.Exec(ctx, "deallocate all")
			require.NoError(t, err)
			use()
		}
	}
	assert.EqualValues(t, 1, b.Stat().NewConnsCount())
}

// What is refused, by us or by the server, keeps what it was for from running.
func TestNothingRunsWithoutItsSettings(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newTenants(t, pool.Config{MaxConns: 1, Lanes: pool.Off})
	everything := func(db *pool.Bound, check func(error)) {
		_, err := db.Exec(ctx, "insert into seen values ('x')")
		check(err)
		_, err = db.Exec(ctx, "create table unwanted ()")
		check(err)
		rows, _ := db.Query(ctx, "insert into seen values ('x') returning 1")
		_, err = pgx.CollectRows(rows, pgx.RowTo[int])
		check(err)
		check(db.QueryRow(ctx, "insert into seen values ($1) returning 1", "x").Scan(new(int)))
		check(db.QueryRow(ctx, "show work_mem").Scan(new(string)))
		var q pgx.Batch
		q.Queue("insert into seen values ('x')")
		q.Queue("insert into seen values ($1)", "x")
		check(db.SendBatch(ctx, &q).Close())
		_, err = db.CopyFrom(ctx, pgx.Identifier{"seen"}, []string{"who"}, pgx.CopyFromRows([][]any{{"x"}}))
		check(err)
		_, err = db.Begin(ctx)
		check(err)
		_, err = db.BeginTx(ctx, pgx.TxOptions{AccessMode: pgx.ReadOnly})
		check(err)
	}
	for _, of := range []struct {
		settings map[string]string
		want     string
	}{
		{nil, "no settings"},
		{map[string]string{"app tenant": "secret"}, `"app tenant" is no name of a setting: want one like app.tenant`},
		{map[string]string{"app.": "secret"}, `"app." is no name`},
		{map[string]string{"app.x'; drop": "secret"}, "is no name"},
		{map[string]string{"a.b": "secret", "A.B": "secret"}, `setting "a.b" is there twice`},
		{map[string]string{"app.tenant": "secret\x00"}, `the value of "app.tenant" is not UTF-8, or has a zero byte`},
		{map[string]string{"app.tenant": "secret\xff"}, `the value of "app.tenant" is not UTF-8, or has a zero byte`},
		{map[string]string{"Session_Authorization": "secret"}, `"session_authorization" cannot be set here: it is the session's; role can be set`},
		{map[string]string{"transaction_isolation": "secret"}, "use BeginTx"},
		{map[string]string{"client_encoding": "secret"}, "UTF-8"},
	} {
		everything(b.With(of.settings), func(err error) {
			t.Helper()
			require.ErrorContains(t, err, of.want)
			assert.ErrorContains(t, err, "lmipool: With: ")
			assert.NotContains(t, err.Error(), "secret")
		})
		require.ErrorContains(t, b.With(of.settings).Ping(ctx), of.want)
		require.ErrorContains(t, b.With(of.settings).With(tenant("t1")).Ping(ctx), of.want, "a fault stays")
		require.ErrorContains(t, b.With(tenant("t1")).With(of.settings).Ping(ctx), of.want)
	}
	for range 2 { // the server's refusals; the second time all is prepared
		for name, code := range map[string]string{"no_such_setting": "42704", "work_mem": "22023", "role": "22023", "is_superuser": "55P02"} {
			everything(b.With(map[string]string{name: "no such value"}), func(err error) {
				t.Helper()
				var pg *pgconn.PgError
				require.ErrorAs(t, err, &pg)
				assert.Equal(t, code, pg.Code)
				assert.False(t, pool.OutcomeUnknown(err))
			})
			assert.Equal(t, "t1", value(ctx, b.With(tenant("t1")), whoAmI))
		}
	}
	assert.Zero(t, b.see.count("select count(*) from seen"))
	assert.Zero(t, b.see.count("select count(*) from pg_class where relname = 'unwanted'"))
	assert.EqualValues(t, 1, b.Stat().NewConnsCount(), "none of it costs the connection")
}

// No row is no failure.
func TestABoundQueryRowWithoutARowIsCommitted(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	for _, plain := range []bool{false, true} {
		b := newTenants(t, pool.Config{MaxConns: 1, Plain: on(plain)})
		db := b.With(tenant("t1"))
		n := 0
		assert.Equal(t, pgx.ErrNoRows, db.QueryRow(ctx, "with w as (insert into seen (v) values ('x') returning 1) select 1 from w where false").Scan(&n))
		assert.Equal(t, pgx.ErrNoRows, db.QueryRow(ctx, "create table made ()").Scan(&n))
		assert.EqualValues(t, 1, b.see.count("select count(*) from seen where who = 't1'"))
		assert.EqualValues(t, 1, b.see.count("select count(*) from pg_class where relname = 'made'"))
	}
}

// What could end the implicit transaction, and the settings with it, does not run in it.
func TestNothingEndsTheSettingsEarly(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	for _, plain := range []bool{false, true} {
		b := newTenants(t, pool.Config{MaxConns: 1, Plain: on(plain)})
		b.see.exec("create procedure commits() language plpgsql as $$ begin commit; insert into seen values ('x'); end $$")
		b.see.exec("grant usage on schema public to public")
		db := b.With(tenant("t1"))
		for sql, code := range map[string]string{
			"call commits()": "2D000",
			"/* */ ( select 1); insert into seen values ('x')":        "42601",
			"commit; insert into seen values ('x')":                   "42601",
			"do $$ begin commit; insert into seen values (1); end $$": "2D000",
			"vacuum seen": "25001",
			"create index concurrently on seen (who)": "25001",
		} {
			_, err := db.Exec(ctx, sql)
			var pg *pgconn.PgError
			if assert.ErrorAs(t, err, &pg, sql) {
				assert.Equal(t, code, pg.Code, "%s: %v", sql, err)
			}
			for _, first := range []bool{true, false} {
				var q pgx.Batch
				if first {
					q.Queue(sql)
				}
				q.Queue("insert into seen values ('x')")
				q.Queue(sql)
				assert.Error(t, db.SendBatch(ctx, &q).Close(), sql)
			}
		}
		for _, sql := range []string{"commit", "rollback", "end", "prepare transaction 'x'", "begin", "savepoint s"} {
			_, _ = db.Exec(ctx, sql) // its own affair
			var q pgx.Batch
			q.Queue("insert into seen values ('x')")
			q.Queue(sql)
			q.Queue("insert into seen values ('x')")
			assert.ErrorContains(t, db.SendBatch(ctx, &q).Close(), "lmipool: With: a batch cannot have")
		}
		_, err := db.Exec(ctx, "insert into seen values ($1)", pgx.QueryExecModeSimpleProtocol, "x")
		assert.ErrorContains(t, err, "lmipool: With needs the extended protocol")
		_, err = db.Exec(ctx, "insert into seen values ('x')", pgx.QueryExecModeExec)
		assert.NoError(t, err)
		_, err = db.Exec(ctx, "")
		assert.NoError(t, err)
		_, err = db.Exec(ctx, "anything", rewrittenTo("commit"))
		assert.NoError(t, err, "and nothing behind it")
		assert.Equal(t, "t1", value(ctx, db, "anything", rewrittenTo(whoAmI)))
		assert.Equal(t, 1, b.see.count("select count(*) from seen where who = 'x'"))
		assert.Empty(t, value(ctx, b, whoAmI))
	}
	p, err := pool.New(ctx, pgtest.Database(t)+"&default_query_exec_mode=simple_protocol", nil)
	if err == nil { // from pgx 5.12 on
		defer p.Close()
		err = p.With(tenant("t1")).Ping(ctx)
		assert.ErrorContains(t, err, "lmipool: With needs the extended protocol")
	}
	assert.Error(t, err)
}

type rewrittenTo string

func (r rewrittenTo) RewriteQuery(context.Context, *pgx.Conn, string, []any) (string, []any, error) {
	return string(r), nil, nil
}

// Settings that were never sent, since it did not come to that, are nobody else's.
func TestSettingsThatWereNotSentAreForgotten(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newTenants(t, pool.Config{MaxConns: 1, Lanes: pool.Off})
	db := b.With(tenant("t1"))
	gone, cancel := context.WithCancel(ctx)
	cancel()
	for name, fails := range map[string]func(ctx context.Context) error{
		"not to be encoded": func(ctx context.Context) error { return db.QueryRow(ctx, "select $1::int", "no int").Scan(new(int)) },
		"too few arguments": func(ctx context.Context) error { return db.QueryRow(ctx, "select $1::int").Scan(new(int)) },
		"no such table":     func(ctx context.Context) error { _, err := db.Exec(ctx, "select * from nowhere"); return err },
		"rows not read": func(ctx context.Context) error {
			_, err := db.Query(ctx, "select generate_series(1, 10000)")
			return err
		},
		"a batch's argument": func(ctx context.Context) error {
			var q pgx.Batch
			q.Queue("select $1::int", "x")
			return db.SendBatch(ctx, &q).Close()
		},
		"an empty batch": func(ctx context.Context) error { return db.SendBatch(ctx, &pgx.Batch{}).Close() },
		"dead":           func(ctx context.Context) error { _, err := db.Exec(gone, "select 1"); return err },
		"dead begin":     func(ctx context.Context) error { _, err := db.Begin(gone); return err },
		"a rewriter's error": func(ctx context.Context) error {
			_, err := db.Exec(ctx, "select", pgx.StrictNamedArgs{"x": 1})
			return err
		},
	} {
		scoped, scope := b.OpenScope(ctx, name, time.Time{})
		err := fails(scoped)
		scope.End()
		if name != "an empty batch" && name != "rows not read" {
			assert.Error(t, err, name)
		}
		assert.Empty(t, value(ctx, b, whoAmI), name)
		tx, err := b.Begin(ctx)
		require.NoError(t, err)
		assert.Empty(t, value(ctx, tx, whoAmI), name)
		require.NoError(t, tx.Rollback(ctx))
		l, err := b.Acquire(ctx)
		require.NoError(t, err)
		assert.Empty(t, value(ctx, l, whoAmI), name)
		l.Release()
		b.tap.reset()
		_, err = b.Exec(ctx, "select 1")
		require.NoError(t, err)
		assert.Equal(t, "Q", b.tap.since()[0], name)
	}
}

// A panic in a rewriter leaves no transaction behind: of those that With runs in one of their own.
func TestAPanicOfARewriterLeavesNoTransactionOfWith(t *testing.T) {
	t.Parallel()
	p := newPool(t, &pool.Config{MaxConns: 1, Upstream: pool.UpstreamPgBouncer})
	b := p.With(map[string]string{"TimeZone": "Asia/Tokyo"})
	for name, call := range map[string]func(){
		"Exec":     func() { _, _ = b.Exec(bounded(t), "select 1", rewriterThatPanics{}) },
		"Query":    func() { _, _ = b.Query(bounded(t), "select 1", rewriterThatPanics{}) },
		"QueryRow": func() { _ = b.QueryRow(bounded(t), "select 1", rewriterThatPanics{}).Scan() },
		"SendBatch": func() {
			var q pgx.Batch
			q.Queue("select 1", pgx.QueryExecModeExec, rewriterThatPanics{})
			_ = b.SendBatch(bounded(t), &q).Close()
		},
	} {
		func() {
			defer func() { _ = recover() }()
			call()
		}()
		require.NoError(t, p.Ping(bounded(t)), name)
		assert.Zero(t, p.Stat().AcquiredConns(), name)
	}
}

type rewriterThatPanics struct{}

func (rewriterThatPanics) RewriteQuery(context.Context, *pgx.Conn, string, []any) (string, []any, error) {
	panic("in a rewriter")
}

package stdlib_test

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	pgxstdlib "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/pool"
)

const sequencesSchema = `
create schema other;
create table public.thing (v text); insert into public.thing values ('public'), ('more');
create table other.thing (v text); insert into other.thing values ('other');
create table numbered (id serial, name text);
create function public.whose() returns text language sql stable as $$ select min(v) from thing $$;
create function public.sets(text) returns text language plpgsql as $$ begin return set_config('app.x', $1, false); end $$;
create view looks as select coalesce(current_setting('app.x', true), '') as x, min(v) as v from thing;
create role sequences_other; grant usage on schema other to sequences_other; grant select on all tables in schema public, other to sequences_other;`

// texts are what a sequence runs in its session. What they return depends on nothing else than the sequence.
var texts = []string{
	"set app.x = 'a'", "set app.x = 'b'", "set local app.x = 'l'", "reset app.x", "select coalesce(current_setting('app.x', true), '')", "select set_config('app.x', 'f', false)",
	"select set_config('app.x', 't', true)", "select sets('s')", "select x, v from looks", "do $$ begin perform set_config('app.x', 'do', false); end $$",
	"set search_path = other, public", "set search_path = public", "reset search_path", "show search_path", "select whose()",
	"select v from thing order by v", "select count(*) from thing where v <> 'public'", "update thing set v = v || '+' where v = 'more'", "insert into thing values ('w')", "delete from thing where v = 'w'",
	"create temporary table thing as select 'temporary' as v", "create temporary table if not exists mine (a int)", "insert into mine values (1)", "select count(*) from mine", "drop table if exists pg_temp.thing",
	"insert into numbered (name) values ('x') returning id", "insert into numbered (name) values ('x')", "select currval('numbered_id_seq')", "select lastval()", "select nextval('numbered_id_seq')", "discard sequences",
	"prepare p as select v from thing order by v limit 1", "execute p", "deallocate p", "declare c cursor with hold for select v from thing order by v", "fetch c", "close c",
	"select pg_try_advisory_lock(5)", "select pg_advisory_unlock(5)", "select count(*) from pg_locks where locktype = 'advisory' and objid = 5 and pid = pg_backend_pid()",
	"listen news", "select count(*) from pg_listening_channels()", "unlisten *",
	"set time zone 'Asia/Tokyo'", "reset time zone", "show time zone", "select '2024-01-01'::timestamptz::text", "set datestyle = 'SQL, DMY'", "select date '2024-02-03'::text", "set intervalstyle = 'iso_8601'", "select interval '1 day 2 hours'",
	"begin", "begin isolation level repeatable read", "commit", "rollback", "savepoint s", "rollback to s", "release s", "show transaction_isolation",
	"select 1/0", "selec", "select no_such_column from thing", "select 1; select 2", "select 1",
	"set role sequences_other", "reset role", "select current_user = session_user", "set session characteristics as transaction read only", "set session characteristics as transaction read write",
	"set statement_timeout = '50s'", "show statement_timeout", "set bytea_output = 'escape'", `select '\x00ff'::bytea::text`, "reset all", "select pg_backend_pid() = pg_backend_pid()",
}

// rounds returns the number that the variable has, or otherwise.
func rounds(variable string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(variable)); err == nil {
		return n
	}
	return otherwise
}

// Each sequence of statements in a *sql.Conn gives what it gives with pgx's stdlib on a connection of its own, although others leave things in the same
// connections all the time.
func TestSequencesInASessionGiveWhatPgxGives(t *testing.T) {
	t.Parallel()
	l := newLab(t, &pool.Config{MaxConns: 2, MaxWait: -1, MaxQueue: -1})
	other := newLab(t, &pool.Config{MaxConns: 1}) // another database, which pgx's sequences change
	for _, x := range []*lab{l, other} {
		x.exec(strings.Replace(sequencesSchema, "create role sequences_other;", "do $$ begin create role sequences_other; exception when duplicate_object or unique_violation then end $$;", 1))
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var disturbers sync.WaitGroup
	for i := range 4 {
		disturbers.Go(func() { disturb(ctx, t, l.db, uint64(i)) })
	}
	config, err := pgx.ParseConfig(other.dsn)
	require.NoError(t, err)
	config.DefaultQueryExecMode = pgx.QueryExecModeDescribeExec // a text means what it means now, and nothing is cached
	seed := uint64(rounds("LMIPOOL_TEST_SQL_SEED", int(time.Now().UnixNano()%1e6)))
	for n := range rounds("LMIPOOL_TEST_SQL_SEQUENCES", 20) {
		ours, own := l.conn(ctx, l.db), pgxstdlib.OpenDB(*config)
		pgxs := l.conn(ctx, own)
		want := walk(ctx, seed, n, pgxs, false)
		got := walk(ctx, seed, n, ours, true)
		require.NoError(t, ours.Close())
		require.NoError(t, pgxs.Close())
		require.NoError(t, own.Close())
		if !assert.Equal(t, want, got, "sequence %d of LMIPOOL_TEST_SQL_SEED=%d", n, seed) {
			break
		}
	}
	cancel()
	disturbers.Wait()
	l.idle()
}

// walk runs the nth sequence of seed in c, and returns what it gave. Each step has random numbers of its own, which do not depend on what others gave.
// If late is true, some calls are made with a ctx that has ended.
func walk(ctx context.Context, seed uint64, n int, c *sql.Conn, late bool) (all []string) {
	note := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	type querier interface {
		ExecContext(context.Context, string, ...any) (sql.Result, error)
		QueryContext(context.Context, string, ...any) (*sql.Rows, error)
		PrepareContext(context.Context, string) (*sql.Stmt, error)
	}
	run := func(q querier, rng *rand.Rand) {
		text := texts[rng.IntN(len(texts))]
		switch rng.IntN(8) {
		case 0, 1, 2:
			r, err := q.ExecContext(ctx, text)
			n := int64(0)
			if err == nil {
				n, _ = r.RowsAffected()
			}
			note("exec %s: %d %T %s", text, n, err, code(err))
		case 3:
			s, err := q.PrepareContext(ctx, text)
			note("prepare %s: %T %s", text, err, code(err))
			if err == nil {
				note("%v", seen(s.QueryContext(ctx)))
				s.Close()
			}
		case 4:
			if late { // pgx's driver gives up the connection then
				ended, cancel := context.WithCancel(ctx)
				cancel()
				_, _ = q.ExecContext(ended, text)
			}
		case 5:
			rows, err := q.QueryContext(ctx, "select v, $1::int from thing where v <> $2 order by v", rng.IntN(9), "nothing")
			note("query with arguments: %v", seen(rows, err))
		default:
			rows, err := q.QueryContext(ctx, text)
			note("query %s: %v", text, seen(rows, err))
		}
	}
	for step := range 20 {
		rng := rand.New(rand.NewPCG(seed, uint64(n*100+step)))
		if rng.IntN(6) > 0 {
			run(c, rng)
			continue
		}
		o := sql.TxOptions{Isolation: []sql.IsolationLevel{sql.LevelDefault, sql.LevelRepeatableRead, sql.LevelSerializable}[rng.IntN(3)], ReadOnly: rng.IntN(4) == 0}
		tx, err := c.BeginTx(ctx, &o)
		note("begin %v: %s", o, code(err))
		if err != nil {
			continue
		}
		for range rng.IntN(6) {
			run(tx, rng)
		}
		if rng.IntN(3) == 0 {
			note("rollback: %s", code(tx.Rollback()))
		} else {
			note("commit: %s", code(tx.Commit()))
		}
	}
	return all
}

// disturb leaves all kinds of things in sessions of db until ctx ends.
func disturb(ctx context.Context, t *testing.T, db *sql.DB, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	left := []string{
		"set app.x = 'theirs'", "set search_path = other", "set time zone 'America/Lima'", "create temporary table thing as select 'theirs' as v", "create temporary table mine (a int)",
		"prepare p as select 'theirs'", "declare c cursor with hold for select 'theirs'", "select pg_advisory_lock_shared(99)", "listen news", "set datestyle = 'German'", "set role sequences_other",
		"begin", "select sets('theirs')", "set default_transaction_read_only = on", "select setval('theirs', 7)", "set bytea_output = 'escape'", "set intervalstyle = 'sql_standard'",
	}
	for ctx.Err() == nil {
		switch rng.IntN(3) {
		case 0:
			_, _ = db.ExecContext(ctx, left[rng.IntN(len(left))])
		case 1:
			rows, err := db.QueryContext(ctx, "select v from public.thing where v = $1", "public")
			if err == nil {
				for rows.Next() {
				}
				rows.Close()
			}
		default:
			c, err := db.Conn(ctx)
			if err != nil {
				continue
			}
			for range 3 {
				_, _ = c.ExecContext(ctx, left[rng.IntN(len(left))])
			}
			_ = c.Close()
		}
		time.Sleep(time.Millisecond)
	}
}

package pool_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
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

// doer is what a program runs on: lmipool's pool, a Bound, or pgxpool's pool.
type doer interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
	Begin(ctx context.Context) (pgx.Tx, error)
}

// failures are the codes after which somebody might think that nothing has run, or that it may
// run again.
var failures = []string{"26000", "0A000", "42P05", "25006", "40001", "40P01", "57014", "57P01", "57P03", "08006", "08P01", "53300", "55P03", "XX000"}

const twiceSchema = `
create table twice (id text);
create table shape (a int);
create procedure commits(id text, code text) language plpgsql as $$ begin
	insert into twice values (id); commit;
	raise exception 'cached plan must not change result type' using errcode = code;
end $$;
create procedure executes(id text, code text) language plpgsql as $$ begin
	insert into twice values (id); commit;
	execute 'execute nosuch';
end $$;
create procedure swallows(id text, code text) language plpgsql as $$ begin
	insert into twice values (id); commit;
	begin execute 'execute nosuch'; exception when others then null; end;
	raise exception 'prepared statement "x" does not exist' using errcode = code;
end $$;
create procedure ends(id text) language plpgsql as $$ begin
	insert into twice values (id); commit;
	perform pg_terminate_backend(pg_backend_pid());
end $$;
create function raises(id text, code text) returns int language plpgsql as $$ begin
	insert into twice values (id);
	raise exception 'cached plan must not change result type' using errcode = code;
end $$;`

// programs leave rows with id in twice, and fail. With $ they take id and code as arguments.
var programs = map[string]string{
	"a procedure that commits":             "call commits('ID', 'CODE')",
	"a procedure, with arguments":          "call commits($1, $2)",
	"a procedure with a real 26000":        "call executes('ID', 'CODE')",
	"the same with arguments":              "call executes($1, $2)",
	"a procedure that swallows one":        "call swallows($1, $2)",
	"a DO that commits":                    "do $do$ begin insert into twice values ('ID'); commit; raise 'x' using errcode = 'CODE'; end $do$",
	"a DO with a real 26000":               "do $do$ begin insert into twice values ('ID'); commit; execute 'execute nosuch'; end $do$",
	"several statements and a real 26000":  "insert into twice values ('ID'); commit; execute nosuch",
	"several statements and a real 0A000":  "prepare qID as select * from shape; alter table shape add bID int; insert into twice values ('ID'); commit; execute qID",
	"several statements and a procedure":   "insert into twice values ('ID'); commit; call commits('ID', 'CODE')",
	"several statements and a function":    "insert into twice values ('ID'); commit; select raises('ID', 'CODE')",
	"a function, which commits nothing":    "select raises('ID', 'CODE')",
	"a function with arguments":            "select raises($1, $2)",
	"a write with a function":              "insert into twice select $1 where raises($1, $2) = 1",
	"a procedure that ends its session":    "call ends($1)",
	"several statements and nothing after": "insert into twice values ('ID'); commit; deallocate nosuch",
}

// waysToSay are the ways to say it. Each returns the error.
var waysToSay = map[string]func(ctx context.Context, d doer, sql string, args []any) error{
	"Exec": func(ctx context.Context, d doer, sql string, args []any) error {
		_, err := d.Exec(ctx, sql, args...)
		return err
	},
	"Query": func(ctx context.Context, d doer, sql string, args []any) error {
		return read(d.Query(ctx, sql, args...))
	},
	"Query, simple": func(ctx context.Context, d doer, sql string, args []any) error {
		return read(d.Query(ctx, sql, append([]any{pgx.QueryExecModeSimpleProtocol}, args...)...))
	},
	"Query, exec": func(ctx context.Context, d doer, sql string, args []any) error {
		return read(d.Query(ctx, sql, append([]any{pgx.QueryExecModeExec}, args...)...))
	},
	"Query, cache_describe": func(ctx context.Context, d doer, sql string, args []any) error {
		return read(d.Query(ctx, sql, append([]any{pgx.QueryExecModeCacheDescribe}, args...)...))
	},
	"QueryRow": func(ctx context.Context, d doer, sql string, args []any) error {
		return d.QueryRow(ctx, sql, args...).Scan(nil)
	},
	"SendBatch": func(ctx context.Context, d doer, sql string, args []any) error {
		b := &pgx.Batch{}
		b.Queue(sql, args...)
		return d.SendBatch(ctx, b).Close()
	},
	"SendBatch of two": func(ctx context.Context, d doer, sql string, args []any) error {
		b := &pgx.Batch{}
		b.Queue("select 1")
		b.Queue(sql, args...)
		return d.SendBatch(ctx, b).Close()
	},
	"a transaction": func(ctx context.Context, d doer, sql string, args []any) error {
		return pgx.BeginFunc(ctx, d, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, sql, args...)
			return err
		})
	},
}

func read(rows pgx.Rows, err error) error {
	if err != nil {
		return err
	}
	for rows.Next() {
	}
	return rows.Err()
}

// generated is a text of several statements that commits here and there, and then fails.
func generatedProgram() string {
	var parts []string
	for range 1 + rand.IntN(3) {
		parts = append(parts, []string{
			"insert into twice values ('ID'); commit",
			"begin; insert into twice values ('ID'); commit",
			"insert into twice values ('ID'); rollback",
			"insert into twice values ('ID'); commit and chain; insert into twice values ('ID'); rollback",
			"do $do$ begin insert into twice values ('ID'); commit; end $do$; commit",
			"prepare q as insert into twice values ('ID'); execute q; deallocate q",
		}[rand.IntN(6)])
	}
	parts = append(parts, []string{
		"execute nosuch", "deallocate nosuch", "select raises('ID', 'CODE')", "call commits('ID', 'CODE')", "call executes('ID', 'CODE')",
		"begin read only; insert into twice values ('ID')", "set local statement_timeout = '1ms'; select pg_sleep(1)",
		"savepoint s; execute nosuch", "begin; execute nosuch", "select pg_terminate_backend(pg_backend_pid())",
	}[rand.IntN(10)])
	return strings.Join(parts, "; ")
}

// What has committed something and then fails, with whatever code and however it is said, is
// sent once: the server has as many rows as after pgxpool.
func TestWhatHasCommittedIsNotSentTwice(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // they are many
	defer cancel()
	dsn := pgtest.Database(t)
	see := newInspector(t, dsn)
	see.exec(twiceSchema)
	n, differ := 0, 0
	for _, mode := range []string{"cache_statement", "cache_describe", "describe_exec", "exec"} {
		p := newPoolAt(t, withParam(dsn, "default_query_exec_mode", mode), &pool.Config{MaxConns: 2, Logger: (&logs{}).logger()})
		theirs, err := pgxpool.New(ctx, withParam(dsn, "default_query_exec_mode", mode))
		require.NoError(t, err)
		_, err = p.Exec(ctx, "insert into twice values ('so that the pool knows that it writes')")
		require.NoError(t, err)
		run := func(d doer, sql, code, way string) (rows int, err error) {
			n++
			id := fmt.Sprintf("i%d", n)
			sql = strings.NewReplacer("ID", id, "CODE", code).Replace(sql)
			var args []any
			if strings.Contains(sql, "$1") {
				args = []any{id, code}[:1+strings.Count(sql, "$2")]
			}
			err = waysToSay[way](ctx, d, sql, args)
			return see.count("select count(*) from twice where id = '" + id + "'"), err
		}
		beside := func(program, sql, code, way string) {
			got, err := run(p, sql, code, way)
			want, theirErr := run(theirs, sql, code, way)
			if !assert.Equal(t, want, got, "%s, %s, %s, %s: rows after %v; pgxpool: %v", mode, program, code, way, err, theirErr) {
				differ++
			}
			assert.Equal(t, theirErr != nil, err != nil, "%s, %s, %s, %s: %v; pgxpool: %v", mode, program, code, way, err, theirErr)
		}
		for way := range waysToSay {
			for program, sql := range programs {
				for _, code := range failures {
					often := 8
					if mode != "cache_statement" {
						often = 40
					}
					if rand.IntN(often) > 0 && (mode != "cache_statement" || code != "26000") {
						continue
					}
					beside(program, sql, code, way)
					beside(program, sql, code, way) // the second time it is prepared
				}
			}
			for range 6 {
				sql := generatedProgram()
				beside(sql, sql, failures[rand.IntN(len(failures))], way)
			}
		}
		theirs.Close()
	}
	t.Logf("%d programs beside pgxpool, %d differ", n/2, differ)

	b := newPoolAt(t, dsn, &pool.Config{MaxConns: 2, Logger: (&logs{}).logger()}).With(map[string]string{"app.x": "1"})
	for _, sql := range []string{"call commits($1, $2)", "call executes($1, $2)", "select raises($1, $2)", "insert into twice select $1 where raises($1, $2) = 1"} {
		for _, way := range []string{"Exec", "Query", "QueryRow", "a transaction"} {
			for range 2 {
				n++
				id := fmt.Sprintf("i%d", n)
				require.Error(t, waysToSay[way](ctx, b, sql, []any{id, "26000"}))
				assert.Zero(t, see.count("select count(*) from twice where id = '"+id+"'"), "nothing commits inside a transaction")
			}
		}
	}
}

// What is stale, and nothing else, is still healed: pgx's own statement, the one that sets what
// With was given, or both.
func TestWhatIsStaleRunsOnceMore(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	dsn := pgtest.Database(t)
	see := newInspector(t, dsn)
	see.exec("create table twice (id text); create table shape (a int)")
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1, Isolation: pool.Off, Lanes: pool.Off, Logger: (&logs{}).logger()})
	b := p.With(map[string]string{"app.x": "1"})
	forget := map[string]func(){
		"statements are gone": func() {
			_, err := p.Exec(ctx, "deallocate all")
			require.NoError(t, err)
		},
		"one of ours is gone": func() {
			_, err := p.Exec(ctx, "do $$ declare n text; begin for n in select name from pg_prepared_statements where name ~ '^lmipool_' loop execute 'deallocate ' || n; end loop; end $$")
			require.NoError(t, err)
		},
		"its table has changed": func() { see.exec("alter table shape add b int; alter table shape drop b") },
	}
	n := 0
	for what, forget := range forget {
		for _, d := range []doer{p, b} {
			for way, say := range waysToSay {
				if strings.HasPrefix(way, "SendBatch") || way == "Query, simple" && d == doer(b) {
					continue
				}
				for _, sql := range []string{"insert into twice values ($1) returning (select count(s.*) from shape s)", "select *, $1::text from shape"} {
					if way == "a transaction" && what != "one of ours is gone" {
						continue // what fails in it is the caller's
					}
					_, err := d.Exec(ctx, sql, "healed outside a transaction, whatever the last round forgot")
					require.NoError(t, err)
					for range 2 {
						require.NoError(t, ignoreNoRows(say(ctx, d, sql, []any{"before"})))
					}
					forget()
					n++
					id := fmt.Sprintf("i%d", n)
					err = ignoreNoRows(say(ctx, d, sql, []any{id}))
					if assert.NoError(t, err, "%s: %s, %T, %s", what, way, d, sql) && strings.HasPrefix(sql, "insert") {
						assert.Equal(t, 1, see.count("select count(*) from twice where id = '"+id+"'"))
					}
				}
			}
		}
	}
}

func ignoreNoRows(err error) error {
	if err == pgx.ErrNoRows || err != nil && strings.Contains(err.Error(), "number of field descriptions") { //nolint:errorlint // as Scan returns it
		return nil
	}
	return err
}

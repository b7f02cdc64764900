package main

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/jackc/pgx/v5"
)

// rowsInTable is the size of the one table, t.
const rowsInTable = 10_000

// rowsRead is how many rows the larger of the two selects returns.
const rowsRead = 20

// pick has the random parts of a statement. They are drawn before the statement's time starts.
type pick struct {
	id   int     // a row of t, with rowsRead-1 rows after it
	draw float64 // in [0, 1)
}

func newPick(rng *rand.Rand) pick {
	return pick{id: 1 + rng.IntN(rowsInTable-rowsRead+1), draw: rng.Float64()}
}

// workload is one kind of load. Its statements check their results, so that a fast and wrong answer is an error.
type workload struct {
	name string
	run  func(context.Context, db, pick) error
	// slow reports whether a statement's latency is left out of the percentiles. If slow is nil, none is left out.
	slow   func(pick) bool
	writes bool
	cold   bool                            // there is no warm-up: the first statements are measured
	first  func(context.Context, db) error // runs before the load; nil if nothing has to
}

var (
	point = workload{name: "point", run: selectPoint}
	// oneClient is the same as point, and is run by one goroutine. It shows what a pool costs when nothing can be shared, so it has a name of its own.
	oneClient = workload{name: "one-client", run: selectPoint}
	rows20    = workload{name: "rows20", run: selectRows}
	mixed     = workload{name: "mixed", writes: true, run: func(ctx context.Context, d db, p pick) error {
		if p.draw < 0.1 {
			return update(ctx, d, p)
		}
		return selectPoint(ctx, d, p)
	}}
	slowOnes = workload{name: "slow", slow: isSlow, run: func(ctx context.Context, d db, p pick) error {
		if isSlow(p) {
			_, err := d.Exec(ctx, "select pg_sleep(0.02)")
			return err
		}
		return selectPoint(ctx, d, p)
	}}
	durable = workload{name: "durable", writes: true, run: update}

	// comments is point with another comment in each text, as tracing libraries add them.
	comments = workload{name: "comments", run: func(ctx context.Context, d db, p pick) error {
		return selectAs(ctx, d, p, fmt.Sprintf("select id, name from t where id = $1 /*traceparent='00-%016x-01'*/", rand.Uint64()))
	}}
	// trigger, forUpdate and function run statements that leave nothing in the session, which only the catalogs can tell.
	trigger   = workload{name: "trigger", writes: true, run: func(ctx context.Context, d db, p pick) error { return updateOf(ctx, d, p, "touched") }}
	forUpdate = workload{name: "for-update", writes: true, run: func(ctx context.Context, d db, p pick) error {
		return selectAs(ctx, d, p, "select id, name from t where id = $1 for update")
	}}
	function = workload{name: "function", run: func(ctx context.Context, d db, p pick) error {
		return selectAs(ctx, d, p, "select id, name_of(id) from t where id = $1")
	}}
	// first is the first second of a pool, with 300 texts. texts has more texts than the pool and pgx remember.
	first = workload{name: "first", cold: true, run: oneOf(300)}
	texts = workload{name: "texts", run: oneOf(2000)}
	// reset leaves a setting each time; reset500 on a connection with 500 prepared statements; the others by a text that is made at run time.
	reset       = workload{name: "reset", run: leave("leaves")}
	reset500    = workload{name: "reset-500", run: leave("leaves"), first: prepare500}
	anyReset    = workload{name: "any-reset", run: leave("leaves_anything")}
	anyReset500 = workload{name: "any-reset-500", run: leave("leaves_anything"), first: prepare500}
)

// schema creates the tables and functions that the workloads need besides t.
const schema = `
create table touched (id int primary key, n int not null default 0, updated_at timestamptz) with (fillfactor = 70);
create function touch() returns trigger language plpgsql as $$ begin new.updated_at := now(); return new; end $$;
create trigger touch before update on touched for each row execute function touch();
create function name_of(i int) returns text language plpgsql stable as $$ begin return (select name from t where id = i); end $$;
create function leaves(i int) returns int language plpgsql as $$ begin perform set_config('app.left', i::text, false); return i; end $$;
create function leaves_anything(i int) returns int language plpgsql as $$ begin execute 'select set_config(''app.left'', $1, false)' using i::text; return i; end $$;
`

// oneOf selects a point by one of n texts.
func oneOf(n int) func(context.Context, db, pick) error {
	return func(ctx context.Context, d db, p pick) error {
		return selectAs(ctx, d, p, fmt.Sprintf("select id, name from t where id = $1 and n > -%d and name <> 'x%d'", p.id%n+1, p.id%n))
	}
}

func leave(function string) func(context.Context, db, pick) error {
	return func(ctx context.Context, d db, p pick) error {
		return selectAs(ctx, d, p, "select "+function+"($1), repeat('x', 32)")
	}
}

// prepare500 runs 500 texts one after the other, so that one connection prepares them all.
func prepare500(ctx context.Context, d db) error {
	for n := range 500 {
		var got int
		if err := d.QueryRow(ctx, fmt.Sprintf("select %d + $1::int", n), 1).Scan(&got); err != nil || got != n+1 {
			return fmt.Errorf("%d came back, want %d: %w", got, n+1, err)
		}
	}
	return nil
}

func isSlow(p pick) bool { return p.draw < 0.01 }

func selectPoint(ctx context.Context, d db, p pick) error {
	return selectAs(ctx, d, p, "select id, name from t where id = $1")
}

// selectAs runs a text that returns the row of p.
func selectAs(ctx context.Context, d db, p pick, sql string) error {
	var id int
	var name string
	if err := d.QueryRow(ctx, sql, p.id).Scan(&id, &name); err != nil {
		return err
	}
	return expect(p.id, id, name)
}

func selectRows(ctx context.Context, d db, p pick) error {
	rows, err := d.Query(ctx, "select id, name from t where id between $1 and $2 order by id", p.id, p.id+rowsRead-1)
	if err != nil {
		return err
	}
	var id, n int
	var name string
	_, err = pgx.ForEachRow(rows, []any{&id, &name}, func() error {
		n++
		return expect(p.id+n-1, id, name)
	})
	if err == nil && n != rowsRead {
		err = fmt.Errorf("%d rows came back, want %d", n, rowsRead)
	}
	return err
}

func update(ctx context.Context, d db, p pick) error { return updateOf(ctx, d, p, "t") }

func updateOf(ctx context.Context, d db, p pick, table string) error {
	tag, err := d.Exec(ctx, "update "+table+" set n = n + 1 where id = $1", p.id)
	if err == nil && tag.RowsAffected() != 1 {
		err = fmt.Errorf("%d rows updated, want 1", tag.RowsAffected())
	}
	return err
}

func expect(want, id int, name string) error {
	if id != want || len(name) != nameLength {
		return fmt.Errorf("row %d, %q came back, want row %d", id, name, want)
	}
	return nil
}

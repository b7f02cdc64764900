package main

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/jackc/pgx/v5"
)

// rowsInTable is the size of the one table, t.
const rowsInTable = 10_000

// rowsRead is what the larger of the two selects returns.
const rowsRead = 20

// pick is what is left to chance in a statement. It is drawn before the statement's time starts.
type pick struct {
	id   int     // a row of t, with rowsRead-1 rows after it
	draw float64 // in [0, 1)
}

func newPick(rng *rand.Rand) pick {
	return pick{id: 1 + rng.IntN(rowsInTable-rowsRead+1), draw: rng.Float64()}
}

// workload is one kind of load. Its statements check what comes back: fast and wrong is an error.
type workload struct {
	name string
	run  func(context.Context, db, pick) error
	// slow tells the statements whose latency is not to be in the percentiles. Nil: none.
	slow   func(pick) bool
	writes bool
}

var (
	point = workload{name: "point", run: selectPoint}
	// oneClient is point for one goroutine. It has a name of its own because it answers another question: what does a
	// pool cost when there is nothing to share?
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
)

func isSlow(p pick) bool { return p.draw < 0.01 }

func selectPoint(ctx context.Context, d db, p pick) error {
	var id int
	var name string
	if err := d.QueryRow(ctx, "select id, name from t where id = $1", p.id).Scan(&id, &name); err != nil {
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

func update(ctx context.Context, d db, p pick) error {
	tag, err := d.Exec(ctx, "update t set n = n + 1 where id = $1", p.id)
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

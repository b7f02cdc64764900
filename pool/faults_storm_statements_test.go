package pool_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/pool"
)

// way is one of the ways to write, to read, or to leave something behind.
type way struct {
	name   string
	run    func(*turn) error
	writes bool
	own    bool // it is not for tenants
}

// turn is one call.
type turn struct {
	way
	ctx    context.Context
	p      *pool.Pool
	db     stormDB // p, or what it is to a tenant
	r      *rand.Rand
	id     int64  // what it writes, or asks
	tenant string // "": nobody's
	clean  string
	traces []string // what it may leave
}

// stormDB is what a pool and a pool bound to settings have in common.
type stormDB interface {
	pool.Beginner
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
	CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error)
}

const (
	stormInsert     = "insert into t (id, way) values ($1, $2)"
	stormSettingsOf = "concat_ws(' ', current_setting('work_mem'), current_setting('search_path'))"
	stormTenant     = "select $1::bigint + 1, coalesce(current_setting('app.tenant', true), ''), "
	stormRides      = stormTenant + "coalesce(current_setting('app.trace', true), '')"
	stormAlone      = stormTenant + stormSettingsOf
)

// stormLeaves are what must not be seen by the next.
var stormLeaves = []string{
	"set work_mem = '7MB'", "set app.trace = 'a trace'", "set search_path = nowhere",
	"select set_config('work_mem', '8MB', false)", "set app.tenant = 'nobody''s'",
}

// undone is an error after which nothing can have happened, whatever it says of itself.
type undone struct{ error }

func (e *undone) Unwrap() error { return e.error }

// foreign is an answer that is not the caller's.
type foreign struct{ got, want string }

func (e *foreign) Error() string { return fmt.Sprintf("got %q, want %q", e.got, e.want) }

// stormWays has each way as often as it is taken.
func stormWays() []way {
	return slices.Concat(stormWrites, slices.Repeat(stormReads, 2), stormTraces)
}

var stormTx = pool.TxOptions{MaxRetries: 3}

var stormWrites = []way{
	{name: "exec", writes: true, run: func(u *turn) error {
		_, err := u.db.Exec(u.ctx, stormInsert, u.id, u.name)
		return err
	}},
	{name: "row", writes: true, run: func(u *turn) error {
		return u.db.QueryRow(u.ctx, stormInsert+" returning id", u.id, u.name).Scan(new(int64))
	}},
	{name: "query", writes: true, run: func(u *turn) error {
		rows, _ := u.db.Query(u.ctx, stormInsert+" returning id", u.id, u.name)
		_, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[int64])
		return err
	}},
	{name: "batch", writes: true, run: func(u *turn) error {
		b := &pgx.Batch{}
		b.Queue("select 1")
		b.Queue(stormInsert, u.id, u.name)
		return u.db.SendBatch(u.ctx, b).Close()
	}},
	{name: "batch, read", writes: true, run: func(u *turn) error {
		b := &pgx.Batch{}
		b.Queue(stormInsert, u.id, u.name)
		b.Queue("select 1")
		results := u.db.SendBatch(u.ctx, b)
		_, err := results.Exec()
		if end := results.Close(); err == nil {
			err = end // which alone says that it was committed
		}
		return err
	}},
	{name: "copy", writes: true, run: func(u *turn) error {
		_, err := u.db.CopyFrom(u.ctx, pgx.Identifier{"t"}, []string{"id", "way"}, pgx.CopyFromRows([][]any{{u.id, u.name}}))
		return err
	}},
	{name: "InTx", writes: true, run: func(u *turn) error {
		return pool.InTx(u.ctx, u.db, stormTx, func(ctx context.Context, tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, stormInsert, u.id, u.name); err != nil {
				return err
			}
			return tx.QueryRow(ctx, "select 1").Scan(new(int))
		})
	}},
	{name: "InTx, batch", writes: true, run: func(u *turn) error {
		return pool.InTx(u.ctx, u.db, stormTx, func(ctx context.Context, tx pgx.Tx) error {
			b := &pgx.Batch{}
			b.Queue(stormInsert, u.id, u.name)
			return tx.SendBatch(ctx, b).Close()
		})
	}},
	{name: "Begin", writes: true, run: func(u *turn) error {
		tx, err := u.db.Begin(u.ctx)
		if err != nil {
			return err
		}
		if _, err = tx.Exec(u.ctx, stormInsert, u.id, u.name); err != nil {
			_ = tx.Rollback(u.ctx)
			return &undone{err}
		}
		return tx.Commit(u.ctx)
	}},
	{name: "lease", writes: true, own: true, run: func(u *turn) error {
		return u.p.AcquireFunc(u.ctx, func(l *pool.Lease) error {
			_, err := l.Exec(u.ctx, stormInsert, u.id, u.name)
			return err
		})
	}},
	{name: "behind a reset", writes: true, run: func(u *turn) error {
		if _, err := u.db.Exec(u.ctx, u.leaves()); err != nil {
			return &undone{err}
		}
		_, err := u.db.Exec(u.ctx, stormInsert, u.id, u.name)
		return err
	}},
}

var stormReads = []way{
	{name: "read a row", run: func(u *turn) error {
		sql, want := u.question()
		got, err := stormAnswer(u.db.QueryRow(u.ctx, sql, u.id))
		return u.compare(got, want, err)
	}},
	{name: "read rows", run: func(u *turn) error {
		sql, want := u.question()
		rows, _ := u.db.Query(u.ctx, sql, u.id)
		got, err := pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) (string, error) { return stormAnswer(row) })
		return u.compare(got, want, err)
	}},
	{name: "read in a batch", run: func(u *turn) error {
		sql, want := u.question()
		b := &pgx.Batch{}
		b.Queue(sql, u.id)
		results := u.db.SendBatch(u.ctx, b)
		got, err := stormAnswer(results.QueryRow())
		if end := results.Close(); err == nil {
			err = end
		}
		return u.compare(got, want, err)
	}},
}

var stormTraces = []way{
	{name: "leave a setting", run: func(u *turn) error {
		_, err := u.db.Exec(u.ctx, u.leaves())
		return err
	}},
	{name: "leave a setting, InTx", run: func(u *turn) error {
		return pool.InTx(u.ctx, u.db, stormTx, func(ctx context.Context, tx pgx.Tx) error {
			_, err := tx.Exec(ctx, u.leaves())
			return err
		})
	}},
	{name: "leave a setting, lease", own: true, run: func(u *turn) error {
		return u.p.AcquireFunc(u.ctx, func(l *pool.Lease) error {
			_, err := l.Exec(u.ctx, u.leaves())
			return err
		})
	}},
}

// leaves is something that must not be seen by the next.
func (u *turn) leaves() string { return u.traces[u.r.IntN(len(u.traces))] }

// question asks for something of the caller's own, his tenant, and what others may have left. Mostly it rides.
func (u *turn) question() (sql, want string) {
	if u.r.IntN(3) > 0 {
		return stormRides, fmt.Sprint(u.id+1, "/", u.tenant, "/")
	}
	return stormAlone, fmt.Sprint(u.id+1, "/", u.tenant, "/", u.clean)
}

func stormAnswer(row pgx.Row) (string, error) {
	var n int64
	var tenant, left string
	err := row.Scan(&n, &tenant, &left)
	return fmt.Sprint(n, "/", tenant, "/", left), err
}

func (u *turn) compare(got, want string, err error) error {
	if err == nil && got != want {
		return &foreign{got, want}
	}
	return err
}

package pool_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// orders is a pool whose database has a table of three orders.
func orders() (ctx context.Context, db *pool.Pool, end func()) {
	e := &pgtest.Example{}
	ctx = context.Background()
	db, err := pool.New(ctx, pgtest.Database(e), nil)
	if err == nil {
		_, err = db.Exec(ctx, `create table orders (id int generated always as identity, item text, count int);
			insert into orders (item, count) values ('book', 1), ('pen', 12), ('ink', 2)`)
	}
	if err != nil {
		panic(err)
	}
	return ctx, db, func() { db.Close(); e.End() }
}

func ExamplePool_QueryRow() {
	ctx, db, end := orders() // pool.New
	defer end()
	var count int
	err := db.QueryRow(ctx, "select count from orders where item = $1", "pen").Scan(&count)
	fmt.Println(count, err)
	err = db.QueryRow(ctx, "select count from orders where item = $1", "lamp").Scan(&count)
	fmt.Println(errors.Is(err, pgx.ErrNoRows))
	// Output:
	// 12 <nil>
	// true
}

func ExamplePool_Query() {
	ctx, db, end := orders() // pool.New
	defer end()
	rows, err := db.Query(ctx, "select item from orders where count < $1 order by item", 10)
	if err != nil {
		panic(err)
	}
	items, err := pgx.CollectRows(rows, pgx.RowTo[string]) // which closes them: until then they may hold a connection
	fmt.Println(items, err)
	// Output: [book ink] <nil>
}

func ExamplePool_Exec() {
	ctx, db, end := orders() // pool.New
	defer end()
	tag, err := db.Exec(ctx, "update orders set count = count + $1 where count < 10", 1)
	fmt.Println(tag.RowsAffected(), err)
	// Output: 2 <nil>
}

func ExamplePool_SendBatch() {
	ctx, db, end := orders() // pool.New
	defer end()
	var b pgx.Batch
	for _, item := range []string{"book", "pen"} {
		b.Queue("select count from orders where item = $1", item).QueryRow(func(row pgx.Row) error {
			var count int
			err := row.Scan(&count)
			fmt.Println(item, count)
			return err
		})
	}
	err := db.SendBatch(ctx, &b).Close() // reads all results, and gives the connection back
	fmt.Println(err)
	// Output:
	// book 1
	// pen 12
	// <nil>
}

func ExamplePool_CopyFrom() {
	ctx, db, end := orders() // pool.New
	defer end()
	n, err := db.CopyFrom(ctx, pgx.Identifier{"orders"}, []string{"item", "count"}, pgx.CopyFromRows([][]any{
		{"lamp", 1},
		{"desk", 2},
	}))
	fmt.Println(n, err)
	// Output: 2 <nil>
}

// An advisory lock belongs to a session, so what it protects needs one connection. If the
// lock is forgotten, it is taken away before anybody else gets the connection.
func ExamplePool_Acquire() {
	ctx, db, end := orders() // pool.New
	defer end()
	l, err := db.Acquire(ctx)
	if err != nil {
		panic(err)
	}
	defer l.Release()
	if _, err := l.Exec(ctx, "select pg_advisory_lock(42)"); err != nil {
		panic(err)
	}
	var sum int
	err = l.QueryRow(ctx, "select sum(count) from orders").Scan(&sum)
	fmt.Println(sum, err)
	// Output: 15 <nil>
}

func ExampleBound_Acquire() {
	ctx, db, end := orders() // pool.New
	defer end()
	whoAmI := func(db interface {
		QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	},
	) (tenant string) {
		if err := db.QueryRow(ctx, "select coalesce(current_setting('app.tenant', true), '')").Scan(&tenant); err != nil {
			panic(err)
		}
		return tenant
	}
	err := db.With(map[string]string{"app.tenant": "blue"}).AcquireFunc(ctx, func(l *pool.Lease) error {
		fmt.Printf("%q\n", whoAmI(l))
		return nil
	})
	fmt.Printf("%q %v\n", whoAmI(db), err)
	// Output:
	// "blue"
	// "" <nil>
}

func ExamplePool_Stat() {
	ctx, db, end := orders() // pool.New
	defer end()
	l, err := db.Acquire(ctx)
	if err != nil {
		panic(err)
	}
	defer l.Release()
	s := db.Stat()
	fmt.Println(s.AcquiredConns(), "in use,", s.Queued(), "waiting")
	// Output: 1 in use, 0 waiting
}

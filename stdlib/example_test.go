package stdlib_test

import (
	"context"
	"fmt"
	"log"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
	"github.com/lmipool/lmipool/stdlib"
)

func ExampleOpenDB() {
	pg := &pgtest.Example{}
	defer pg.End()
	ctx := context.Background()
	db, err := pool.New(ctx, pgtest.Database(pg), &pool.Config{MaxConns: 2}) // or lmipool.Open
	if err != nil {
		log.Panic(err)
	}
	defer db.Close()
	sqlDB := stdlib.OpenDB(db)
	defer sqlDB.Close() // leaves db open

	var name string
	err = sqlDB.QueryRowContext(ctx, "select 'Ada' where 1 = $1", 1).Scan(&name)
	fmt.Println(name, err)
	// Output: Ada <nil>
}

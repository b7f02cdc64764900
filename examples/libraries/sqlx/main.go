// Command sqlx is a function that uses sqlx on lmipool's connections.
package main

import (
	"context"
	"log"

	"github.com/jmoiron/sqlx"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/stdlib"
)

// Item is a row of the table stock.
type Item struct {
	Name  string `db:"name"`
	Count int    `db:"count"`
}

// Handler returns the handler. It gets the names of items, and returns what is left of them.
func Handler(x *sqlx.DB) func(context.Context, []string) ([]Item, error) {
	return func(ctx context.Context, names []string) (items []Item, err error) {
		// The methods with a ctx have the invocation's deadline and scope. Those without one have neither.
		// pgx sends a []string as an array, so sqlx.In, which makes a new text for each length, is not needed.
		err = x.SelectContext(ctx, &items, "select name, count from stock where name = any($1) order by name", names)
		return items, err
	}
}

// Open returns sqlx on db. The name "pgx" tells sqlx that parameters are $1 and not ?.
func Open(db *lmipool.Pool) *sqlx.DB { return sqlx.NewDb(stdlib.OpenDB(db), "pgx") }

func main() {
	db, err := lmipool.Open(context.Background(), "", nil)
	if err != nil {
		log.Fatal(err)
	}
	lmipool.Start(db, Handler(Open(db)))
}

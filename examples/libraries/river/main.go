// Command river is a function that places an order and queues a job of River in the same transaction: either both are there, or neither is.
package main

import (
	"context"
	"log"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/lmipool/lmipool"
)

// Order is the event.
type Order struct{ Item string }

// Ship is the job's arguments.
type Ship struct {
	OrderID int64 `json:"order_id"`
}

// Kind is the job's name in River's table.
func (Ship) Kind() string { return "ship" }

// Inserter returns a client that only inserts. It needs no pool of its own, since InsertTx uses the transaction that it is given.
func Inserter() (*river.Client[pgx.Tx], error) {
	return river.NewClient(riverpgxv5.New(nil), &river.Config{})
}

// Handler returns the handler.
func Handler(db lmipool.DB, jobs *river.Client[pgx.Tx]) func(context.Context, Order) (id int64, err error) {
	return func(ctx context.Context, o Order) (id int64, err error) {
		err = lmipool.InTx(ctx, db, lmipool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
			if err := tx.QueryRow(ctx, "insert into orders (item) values ($1) returning id", o.Item).Scan(&id); err != nil {
				return err
			}
			_, err := jobs.InsertTx(ctx, tx, Ship{OrderID: id}, nil)
			return err
		})
		return id, err
	}
}

func main() {
	db, err := lmipool.Open(context.Background(), "", nil)
	if err != nil {
		log.Fatal(err)
	}
	jobs, err := Inserter()
	if err != nil {
		log.Fatal(err)
	}
	lmipool.Start(db, Handler(db, jobs))
}

package lmipool_test

import (
	"context"
	"log"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool"
)

// A transaction of two statements is three round trips: BEGIN travels with the first. fn only
// talks to its transaction, so it may run again after a deadlock.
func ExampleInTx() {
	db, err := lmipool.Open(context.Background(), "", nil)
	if err != nil {
		log.Fatal(err)
	}
	lambda.Start(lmipool.Handler(db, func(ctx context.Context, o Order) (r Receipt, err error) {
		err = lmipool.InTx(ctx, db, lmipool.TxOptions{MaxRetries: 3}, func(ctx context.Context, tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "update stock set count = count - $2 where item = $1", o.Item, o.Count); err != nil {
				return err
			}
			return tx.QueryRow(ctx, "insert into orders (item, count) values ($1, $2) returning id", o.Item, o.Count).Scan(&r.ID)
		})
		return r, err
	}))
}

// Package nested shows a mistake that stops a whole pool, and what lmipool says of it.
package nested

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool"
)

// Order is the event.
type Order struct{ Item string }

// Wrong asks the pool for a second connection inside its transaction: db instead of tx. One invocation alone works. If as many invocations as there are
// connections are at this point at once, each waits for a connection that another one holds.
func Wrong(db lmipool.DB) func(context.Context, Order) (int, error) {
	return func(ctx context.Context, o Order) (left int, err error) {
		err = lmipool.InTx(ctx, db, lmipool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "update stock set count = count - 1 where item = $1", o.Item); err != nil {
				return err
			}
			return db.QueryRow(ctx, "select count from stock where item = $1", o.Item).Scan(&left)
		})
		return left, err
	}
}

// Right runs all statements of the transaction on tx, and also sees what the transaction has written.
func Right(db lmipool.DB) func(context.Context, Order) (int, error) {
	return func(ctx context.Context, o Order) (left int, err error) {
		err = lmipool.InTx(ctx, db, lmipool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "update stock set count = count - 1 where item = $1", o.Item); err != nil {
				return err
			}
			return tx.QueryRow(ctx, "select count from stock where item = $1", o.Item).Scan(&left)
		})
		return left, err
	}
}

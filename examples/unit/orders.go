// Package orders is a Lambda handler that uses PostgreSQL. It takes an lmipool.DB,
// so that it can be unit-tested without a database.
package orders

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool"
)

// Order is the event.
type Order struct {
	Item  string `json:"item"`
	Count int    `json:"count"`
}

// Receipt is the reply.
type Receipt struct {
	ID int64 `json:"id"`
}

// ErrSoldOut is the error of an order for more than is left.
var ErrSoldOut = errors.New("sold out")

// Place returns the handler. db is lmipool's pool in production, a mock or a plain
// *pgxpool.Pool in a test.
func Place(db lmipool.DB) func(context.Context, Order) (Receipt, error) {
	return lmipool.Handler(db, func(ctx context.Context, o Order) (Receipt, error) {
		var r Receipt
		err := lmipool.InTx(ctx, db, lmipool.TxOptions{MaxRetries: 3}, func(ctx context.Context, tx pgx.Tx) error {
			tag, err := tx.Exec(ctx, "update stock set count = count - $2 where item = $1 and count >= $2", o.Item, o.Count)
			if err != nil {
				return err
			}
			if tag.RowsAffected() == 0 {
				return ErrSoldOut
			}
			return tx.QueryRow(ctx, "insert into orders (item, count) values ($1, $2) returning id", o.Item, o.Count).Scan(&r.ID)
		})
		if err != nil {
			return Receipt{}, fmt.Errorf("place order: %w", err)
		}
		return r, nil
	})
}

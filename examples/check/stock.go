// Package check shows how a test finds what a handler must not do, although lmipool mends it: see stock_test.go.
package check

import (
	"context"

	"github.com/lmipool/lmipool"
)

// Item is a handler's event.
type Item struct{ ID int }

// Left returns how many of an item there are. It gives back the connection that it takes.
func Left(db *lmipool.Pool) func(context.Context, Item) (int, error) {
	return func(ctx context.Context, in Item) (n int, err error) {
		l, err := db.Acquire(ctx)
		if err != nil {
			return 0, err
		}
		defer l.Release()
		err = l.QueryRow(ctx, "select 10 - $1::int", in.ID).Scan(&n)
		return n, err
	}
}

// LeftLeaking is Left with a mistake: after an error, nobody gives the connection back.
func LeftLeaking(db *lmipool.Pool) func(context.Context, Item) (int, error) {
	return func(ctx context.Context, in Item) (n int, err error) {
		l, err := db.Acquire(ctx)
		if err != nil {
			return 0, err
		}
		if err := l.QueryRow(ctx, "select 10 / $1::int", in.ID).Scan(&n); err != nil {
			return 0, err
		}
		l.Release()
		return n, nil
	}
}

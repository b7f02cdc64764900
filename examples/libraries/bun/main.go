// Command bun is a function that uses bun on lmipool's connections.
package main

import (
	"context"
	"log"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/stdlib"
)

// Note is a row.
type Note struct {
	ID   int64 `bun:",pk,autoincrement"`
	Text string
}

// Open returns bun on db. bun writes the arguments into the text, so each text is new to the pool, and its reads seldom share a connection.
func Open(db *lmipool.Pool) *bun.DB { return bun.NewDB(stdlib.OpenDB(db), pgdialect.New()) }

// Handler returns the handler. It adds a note and returns all notes.
func Handler(x *bun.DB) func(context.Context, string) ([]Note, error) {
	return func(ctx context.Context, text string) (notes []Note, err error) {
		err = x.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
			if _, err := tx.NewInsert().Model(&Note{Text: text}).Exec(ctx); err != nil {
				return err
			}
			return tx.NewSelect().Model(&notes).Order("id").Scan(ctx)
		})
		return notes, err
	}
}

func main() {
	db, err := lmipool.Open(context.Background(), "", nil)
	if err != nil {
		log.Fatal(err)
	}
	lmipool.Start(db, Handler(Open(db)))
}

// Command sqlc is a function whose queries are code that sqlc has generated (version 1.30.0, with sql_package pgx/v5).
package main

import (
	"context"
	"log"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/examples/libraries/sqlc/store"
)

// To generate package store again after a change of schema.sql or queries.sql, run go generate.
//
//go:generate go run github.com/sqlc-dev/sqlc/cmd/sqlc@v1.30.0 generate

// Rename is the event.
type Rename struct {
	ID   int64
	Name string
}

// Handler returns the handler. The generated interface DBTX has three methods, which lmipool's pool and a pgx.Tx both have, so no adapter is needed.
func Handler(db *lmipool.Pool) func(context.Context, Rename) (store.User, error) {
	return func(ctx context.Context, in Rename) (user store.User, err error) {
		if in.Name == "" {
			return store.New(db).GetUser(ctx, in.ID) // a read by primary key, which may share a connection with others
		}
		err = lmipool.InTx(ctx, db, lmipool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
			q := store.New(tx)
			if _, err := q.RenameUser(ctx, store.RenameUserParams{ID: in.ID, Name: in.Name}); err != nil {
				return err
			}
			user, err = q.GetUser(ctx, in.ID)
			return err // pgx.ErrNoRows if there is no such user
		})
		return user, err
	}
}

func main() {
	db, err := lmipool.Open(context.Background(), "", nil)
	if err != nil {
		log.Fatal(err)
	}
	lmipool.Start(db, Handler(db))
}

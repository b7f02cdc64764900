package emf_test

import (
	"context"
	"log"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/emf"
)

func Example() {
	metrics, err := emf.New(emf.Options{})
	if err != nil {
		log.Fatal(err)
	}
	db, err := lmipool.Open(context.Background(), "", &lmipool.Config{Observers: []any{metrics}})
	if err != nil {
		log.Fatal(err)
	}
	metrics.Watch(db)
	lmipool.Start(db, func(ctx context.Context, id string) (name string, err error) {
		return name, db.QueryRow(ctx, "select name from customers where id = $1", id).Scan(&name)
	})
}

package lmipool_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/pool"
)

// order is one write of the lab: an id that nobody else has.
type order struct{ ID int }

// receipt is what became of it.
type receipt struct {
	Outcome string // "done", "unknown" or "failed"
	Error   string
	Read    string // why its reads failed; "" if they did not
}

// startFailover runs a handler that writes and reads, on lmipool, or on pgxpool if FAILOVER_POOL
// says so. FAILOVER_NAME is a file with the address that the database's name leads to.
func startFailover() {
	ctx := context.Background()
	resolve := func(context.Context, string) ([]string, error) {
		addr, err := os.ReadFile(os.Getenv("FAILOVER_NAME"))
		return []string{strings.TrimSpace(string(addr))}, err
	}
	if os.Getenv("FAILOVER_POOL") == "pgxpool" {
		c, err := pgxpool.ParseConfig(os.Getenv("DATABASE_URL"))
		if err != nil {
			log.Fatal(err)
		}
		c.MaxConns = 16 // as many as lmipool's formula
		c.ConnConfig.LookupFunc = resolve
		px, err := pgxpool.NewWithConfig(ctx, c)
		if err != nil {
			log.Fatal(err)
		}
		lambda.Start(lmipool.Handler(px, place(px)))
	}
	db, err := lmipool.Open(ctx, "", &lmipool.Config{BeforeConnect: func(_ context.Context, cc *pgx.ConnConfig) error {
		cc.LookupFunc = resolve
		return nil
	}})
	if err != nil {
		log.Fatal(err)
	}
	lambda.Start(lmipool.Handler(db, place(db)))
}

// place writes an order, in a transaction if its id is odd, and reads.
func place(db lmipool.DB) func(context.Context, order) (receipt, error) {
	return func(ctx context.Context, o order) (r receipt, _ error) {
		insert := func(ctx context.Context, q lmipool.Querier) error {
			_, err := q.Exec(ctx, "insert into orders (id) values ($1)", o.ID)
			return err
		}
		var err error
		if o.ID%2 == 0 {
			err = insert(ctx, db)
		} else {
			err = lmipool.InTx(ctx, db, lmipool.TxOptions{MaxRetries: 5}, func(ctx context.Context, tx pgx.Tx) error {
				var n int
				if err := tx.QueryRow(ctx, "select count(*) from products where id = $1", o.ID%10).Scan(&n); err != nil {
					return err
				}
				return insert(ctx, tx)
			})
		}
		switch {
		case err == nil:
			r.Outcome = "done"
		case pool.OutcomeUnknown(err):
			r.Outcome, r.Error = "unknown", err.Error()
		default:
			r.Outcome, r.Error = "failed", err.Error()
		}
		for range 2 {
			var name string
			if err := db.QueryRow(ctx, "select name from products where id = $1", o.ID%10).Scan(&name); err != nil {
				r.Read = err.Error()
			} else if name != fmt.Sprintf("product %d", o.ID%10) {
				r.Read = "a wrong row: " + name
			}
		}
		return r, nil
	}
}

package lmipool_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool"
)

// Open does not dial. Warm does, in Lambda's init phase; without it the first use does.
func ExampleOpen() {
	ctx := context.Background()
	db, err := lmipool.Open(ctx, "", nil) // DATABASE_URL, or the PG* variables
	if err != nil {
		log.Fatal(err)
	}
	if err := db.Warm(ctx); err != nil {
		log.Print(err) // the first use tries again
	}
	lambda.Start(lmipool.Handler(db, func(ctx context.Context, o Order) (n int, err error) {
		err = db.QueryRow(ctx, "select count from orders where item = $1", o.Item).Scan(&n)
		return n, err
	}))
}

// Each field that is left out has its default; a variable LMIPOOL_… wins over each.
func ExampleConfig() {
	db, err := lmipool.Open(context.Background(), "", &lmipool.Config{
		MaxConns:      8,
		LaneFunctions: []string{"shop.price"}, // of one's own: it only reads
		AfterConnect: func(ctx context.Context, c *pgx.Conn) error {
			_, err := c.Exec(ctx, "set statement_timeout = '10s'")
			return err
		},
		MaxOverruns: 4,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
}

func ExampleHTTPHandler() {
	db, err := lmipool.Open(context.Background(), "", nil)
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /pages/{path}", func(w http.ResponseWriter, r *http.Request) {
		var text string
		err := db.QueryRow(r.Context(), "select text from pages where path = $1", r.PathValue("path")).Scan(&text)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			http.NotFound(w, r)
		case err != nil:
			http.Error(w, "no database", http.StatusServiceUnavailable)
		default:
			fmt.Fprint(w, text)
		}
	})
	lambda.Start(lmipool.HTTPHandler(db, mux)) // behind a function URL with response streaming
}

// A read that must not wait for others, or that is known to take long, goes alone.
func ExampleAlone() {
	var db *lmipool.Pool // from Open
	report := func(ctx context.Context) (pgx.Rows, error) {
		return db.Query(lmipool.Alone(ctx), "select item, sum(count) from orders group by item")
	}
	_ = report
}

func ExampleMisconfigured() {
	_, err := lmipool.Open(context.Background(), "postgres://app@localhost/shop", &lmipool.Config{MaxConns: -1})
	fmt.Println(lmipool.Misconfigured(err)) // wake somebody: no retry will help
	// Output: true
}

// A write whose answer was lost may be there already. With a key of its own it can be
// sent again all the same.
func ExampleOutcomeUnknown() {
	var db *lmipool.Pool // from Open
	place := func(ctx context.Context, id, item string) error {
		const insert = "insert into orders (id, item) values ($1, $2) on conflict do nothing"
		_, err := db.Exec(ctx, insert, id, item)
		if lmipool.OutcomeUnknown(err) {
			_, err = db.Exec(ctx, insert, id, item)
		}
		return err
	}
	_ = place
}

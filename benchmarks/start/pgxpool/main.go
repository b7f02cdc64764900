// Command pgxpool is a handler on a plain pgxpool.Pool. With TERM_OPTION it closes the pool on SIGTERM.
package main

import (
	"context"
	"log"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/benchmarks/start"
)

func main() {
	t := start.Times{Main: start.Now(), CPUMain: start.CPU()}
	db, err := pgxpool.New(context.Background(), os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	t.Opened = start.Now()
	var options []lambda.Option
	if os.Getenv("TERM_OPTION") != "" {
		options = append(options, lambda.WithEnableSIGTERM(db.Close))
	}
	lambda.StartWithOptions(func(ctx context.Context, in struct{ ID int }) (start.Times, error) {
		t, name := t, ""
		t.Invoked = start.Now()
		err := db.QueryRow(ctx, start.SQL, in.ID).Scan(&name)
		t.Queried, t.CPUQueried = start.Now(), start.CPU()
		return t, err
	}, options...)
}

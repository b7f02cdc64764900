// Command lmipool is the handler of command pgxpool with lmipool in place of pgxpool. With TERM_OPTION it closes the pool on SIGTERM.
package main

import (
	"context"
	"log"
	"os"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/benchmarks/start"
)

func main() {
	t := start.Times{Main: start.Now(), CPUMain: start.CPU()}
	db, err := lmipool.Open(context.Background(), "", nil)
	if err != nil {
		log.Fatal(err)
	}
	t.Opened = start.Now()
	var options []lambda.Option
	if os.Getenv("TERM_OPTION") != "" {
		options = append(options, lmipool.WithSIGTERM(db))
	}
	lambda.StartWithOptions(lmipool.Handler(db, func(ctx context.Context, in struct{ ID int }) (start.Times, error) {
		t, name := t, ""
		t.Invoked = start.Now()
		err := db.QueryRow(ctx, start.SQL, in.ID).Scan(&name)
		t.Queried, t.CPUQueried = start.Now(), start.CPU()
		return t, err
	}), options...)
}

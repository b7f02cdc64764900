package lmipool_test

import (
	"context"
	"io"
	"log"
	"os"
	"strings"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool"
)

type Order struct {
	Item  string
	Count int
}

type Receipt struct{ ID int64 }

func ExampleHandler() {
	db, err := lmipool.Open(context.Background(), "", nil)
	if err != nil {
		log.Fatal(err)
	}
	lambda.Start(lmipool.Handler(db, func(ctx context.Context, o Order) (r Receipt, err error) {
		err = db.QueryRow(ctx, "insert into orders (item, count) values ($1, $2) returning id", o.Item, o.Count).Scan(&r.ID)
		return r, err
	}))
}

// Who comes from pgxpool keeps what sets up its Config.
func ExampleOpenConfig() {
	cfg, err := pgxpool.ParseConfig(os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	cfg.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "set statement_timeout = '5s'")
		return err
	}
	db, err := lmipool.OpenConfig(context.Background(), cfg, &lmipool.Config{MaxConns: 8})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
}

// A stream reads its rows while aws-lambda-go sends it: the invocation, and what it
// holds, ends with the stream.
func ExampleHandler_stream() {
	db, err := lmipool.Open(context.Background(), "", nil)
	if err != nil {
		log.Fatal(err)
	}
	lambda.Start(lmipool.Handler(db, func(ctx context.Context, o Order) (io.Reader, error) {
		rows, err := db.Query(ctx, "select line from report where item = $1", o.Item)
		if err != nil {
			return nil, err
		}
		r, w := io.Pipe()
		go func() {
			var line string
			_, err := pgx.ForEachRow(rows, []any{&line}, func() error {
				_, err := io.WriteString(w, line+"\n")
				return err
			})
			w.CloseWithError(err)
		}()
		return r, nil
	}))
}

func ExampleWrap() {
	db, err := lmipool.Open(context.Background(), "", nil)
	if err != nil {
		log.Fatal(err)
	}
	lambda.Start(lmipool.Wrap(db, func(ctx context.Context, e events.S3Event) error {
		for _, r := range e.Records {
			if _, err := db.Exec(ctx, "insert into uploads (key) values ($1)", r.S3.Object.Key); err != nil {
				return err
			}
		}
		return nil
	}))
}

func ExampleStart() {
	db, err := lmipool.Open(context.Background(), "", &lmipool.Config{
		// An API answers in its own words when a handler does not come back in time.
		OnOverrun: func(context.Context, any) (any, error) {
			return events.APIGatewayV2HTTPResponse{StatusCode: 504, Body: "it took too long"}, nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	lmipool.Start(db, func(ctx context.Context, r events.APIGatewayV2HTTPRequest) (events.APIGatewayV2HTTPResponse, error) {
		var text string
		err := db.QueryRow(ctx, "select text from pages where path = $1", strings.ToLower(r.RawPath)).Scan(&text)
		return events.APIGatewayV2HTTPResponse{StatusCode: 200, Body: text}, err
	})
}

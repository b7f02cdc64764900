// Command streaming is a function behind a function URL with InvokeMode RESPONSE_STREAM. It sends a table as CSV while it reads it, so the reply may
// be larger than 6 MB, and is never in memory as a whole.
package main

import (
	"context"
	"encoding/csv"
	"io"
	"log"
	"strconv"

	"github.com/aws/aws-lambda-go/events"

	"github.com/lmipool/lmipool"
)

// Handler returns the handler. It returns before the table is read. lmipool keeps the invocation's scope until the Body is read to its end, or cuts the
// Body shortly before the deadline, so the client sees that it is not complete, and the rows' connection is given back in any case.
func Handler(db lmipool.DB) func(context.Context, events.LambdaFunctionURLRequest) (*events.LambdaFunctionURLStreamingResponse, error) {
	return func(ctx context.Context, _ events.LambdaFunctionURLRequest) (*events.LambdaFunctionURLStreamingResponse, error) {
		body, w := io.Pipe()
		go func() { w.CloseWithError(write(ctx, db, w)) }() // an error cuts the response, and nil ends it
		return &events.LambdaFunctionURLStreamingResponse{
			StatusCode: 200,
			Headers:    map[string]string{"Content-Type": "text/csv"},
			Body:       body,
		}, nil
	}
}

// write holds one connection while the client reads. A slow client holds it for long, so MaxConns must allow as many connections as clients that read
// at once.
func write(ctx context.Context, db lmipool.DB, w io.Writer) error {
	rows, err := db.Query(ctx, "select id, name from users order by id")
	if err != nil {
		return err
	}
	defer rows.Close()
	out := csv.NewWriter(w)
	for rows.Next() {
		var id int64
		var name string
		if err := rows.Scan(&id, &name); err != nil {
			return err
		}
		if err := out.Write([]string{strconv.FormatInt(id, 10), name}); err != nil {
			return err // the client has gone
		}
	}
	out.Flush()
	if err := rows.Err(); err != nil {
		return err
	}
	return out.Error()
}

func main() {
	db, err := lmipool.Open(context.Background(), "", nil)
	if err != nil {
		log.Fatal(err)
	}
	lmipool.Start(db, Handler(db))
}

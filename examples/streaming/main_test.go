package main

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/events"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/examples/testdb"
	"github.com/lmipool/lmipool/lmitest"
)

func TestTheTableIsStreamed(t *testing.T) {
	db := testdb.Open(t, nil, "create table users (id bigint primary key, name text)", "insert into users select i, 'user ' || i from generate_series(1, 50000) i")
	streamed := lmipool.Handler(db, Handler(db))
	// Call's context ends when the handler returns. So the handler of the test reads the Body, as aws-lambda-go would.
	read := func(ctx context.Context, r events.LambdaFunctionURLRequest) (string, error) {
		response, err := streamed(ctx, r)
		if err != nil {
			return "", err
		}
		body, err := io.ReadAll(response.Body)
		return string(body), err
	}
	r := lmitest.Call(t.Context(), lmitest.CallOptions{}, read, make([]events.LambdaFunctionURLRequest, 1))[0]
	if n := strings.Count(r.Out, "\n"); r.Err != nil || n != 50000 || !strings.HasSuffix(r.Out, "50000,user 50000\n") {
		t.Errorf("got %d lines, %v", n, r.Err)
	}
	if n := db.Stat().AcquiredConns(); n != 0 {
		t.Errorf("%d connections are still held", n)
	}
}

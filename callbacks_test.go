package lmipool_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/lmitest"
)

// startCallbacks has two callbacks for SIGTERM, which write to the database what they were told to.
func startCallbacks(db *lmipool.Pool) {
	say := func(what string) func() {
		return func() {
			if _, err := db.Exec(context.Background(), "insert into said values ($1)", what); err != nil {
				fmt.Println("the callback's error:", err)
			}
			if os.Getenv("SLOW") != "" {
				time.Sleep(time.Minute)
			}
		}
	}
	h := func(ctx context.Context, _ task) (o outcome, err error) { return o, db.Ping(ctx) }
	mine := []lambda.Option{lambda.WithEnableSIGTERM(say("one"), say("two")), lambda.WithEnableSIGTERM(say("three"))}
	if os.Getenv("WITH") != "" {
		lambda.StartWithOptions(lmipool.Wrap(db, h), append(mine, lmipool.WithSIGTERM(db))...)
	}
	lmipool.Start(db, h, mine...)
}

func TestCallbacksOfTheUsersRunBeforeThePoolCloses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env  []string
		want []string
	}{
		"Start":                      {nil, []string{"one", "two", "three"}},
		"WithSIGTERM":                {[]string{"WITH=1"}, []string{"one", "two", "three"}},
		"Start, with one that hangs": {[]string{"SLOW=1"}, []string{"one"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := boundedBy(t, time.Minute)
			dsn := pgtest.Database(t)
			conn, err := pgx.Connect(ctx, dsn)
			require.NoError(t, err)
			t.Cleanup(func() { conn.Close(context.Background()) })
			_, err = conn.Exec(ctx, "create table said (what text, at timestamptz default clock_timestamp())")
			require.NoError(t, err)
			f, stderr := functionWith(t, lmitest.Config{Env: append([]string{"CHILD=callbacks", "DATABASE_URL=" + dsn}, c.env...)})
			r, _ := ask[outcome](ctx, t, f, task{})
			require.Nil(t, r.Error)
			require.NoError(t, f.Shutdown(ctx))
			rows, _ := conn.Query(ctx, "select what from said order by at")
			said, err := pgx.CollectRows(rows, pgx.RowTo[string])
			require.NoError(t, err)
			// On a machine on which everything is slow, the time of the callbacks is over before the last of them.
			require.NotEmpty(t, said)
			assert.Equal(t, c.want[:len(said)], said)
			assert.Equal(t, 1, strings.Count(stderr(), "lmipool: SIGTERM: all connections closed"), stderr())
		})
	}
}

// durableWrap is of the shape that the durable execution SDK's Wrap returns: a function from
// the payload to the reply, which it reads and writes itself.
func durableWrap(h func(context.Context, task) (task, error)) func(context.Context, []byte) ([]byte, error) {
	return func(ctx context.Context, payload []byte) ([]byte, error) {
		var in struct {
			DurableExecutionArn string
			Input               task
		}
		if err := json.Unmarshal(payload, &in); err != nil {
			return nil, err
		}
		out, err := h(ctx, in.Input)
		if err != nil {
			return nil, err
		}
		return json.Marshal(map[string]any{"Status": "SUCCEEDED", "Result": out})
	}
}

func startDurable(db *lmipool.Pool) {
	h := durableWrap(func(ctx context.Context, t task) (task, error) {
		if t.Do == "panic" {
			panic("boom")
		}
		lc, _ := lambdacontext.FromContext(ctx)
		t.Do = lc.AwsRequestID
		return t, db.QueryRow(ctx, "select 2 * $1::int", t.N).Scan(&t.N)
	})
	if os.Getenv("PLAIN") == "" {
		lambda.Start(lmipool.Wrap(db, h))
	}
	lambda.Start(h)
}

func TestWrapTakesTheFunctionThatDurableWrapReturns(t *testing.T) {
	t.Parallel()
	ctx := boundedBy(t, time.Minute)
	f, _ := function(t, "CHILD=durable")
	type reply struct {
		Status string
		Result task
	}
	in := func(do task) any { return map[string]any{"DurableExecutionArn": "arn:…", "Input": do} }
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			r, _ := ask[reply](ctx, t, f, in(task{N: i}))
			assert.Nil(t, r.Error)
			var out reply // a reply of bytes has no content type, as a lambda.Handler's
			assert.NoError(t, json.Unmarshal(r.Payload, &out))
			assert.Equal(t, reply{"SUCCEEDED", task{N: 2 * i, Do: r.RequestID}}, out)
		})
	}
	wg.Wait()
	r, _ := ask[reply](ctx, t, f, in(task{Do: "panic"}))
	if assert.NotNil(t, r.Error) {
		assert.Equal(t, "boom", r.Error.Message)
	}
	assert.Zero(t, f.Stats().Exits)

	plain, _ := function(t, "CHILD=durable", "PLAIN=1")
	r, _ = ask[reply](ctx, t, plain, in(task{N: 1}))
	if assert.NotNil(t, r.Error, "aws-lambda-go takes the payload for base64") {
		assert.Equal(t, "UnmarshalTypeError", r.Error.Type)
	}
}

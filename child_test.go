package lmipool_test

import (
	"context"
	"encoding/json"
	"log"
	"os"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/lmitest"
)

// children are the handlers that tests run as processes of their own, under the real
// aws-lambda-go: each calls lambda.Start. The variable CHILD chooses one.
var children = map[string]func(*lmipool.Pool){
	"":           leaks,
	"bulkhead":   func(db *lmipool.Pool) { startBulkhead(db) },
	"bare":       func(*lmipool.Pool) { startBare() },
	"stream":     func(db *lmipool.Pool) { startStreams(db) },
	"url":        func(db *lmipool.Pool) { startURL(db) },
	"http":       func(db *lmipool.Pool) { lambda.Start(lmipool.HTTPHandler(db, mux(db))) },
	"terminate":  func(db *lmipool.Pool) { startForSIGTERM(db) },
	"failover":   func(*lmipool.Pool) { startFailover() },
	"door":       startDoor,
	"deaf":       startDeaf,
	"traced":     startTraced,
	"callbacks":  startCallbacks,
	"durable":    startDurable,
	"response":   startResponse,
	"wrap":       startWrap,
	"situations": startSituations,
}

func runChild() {
	db, err := lmipool.Open(context.Background(), "", nil)
	if err != nil {
		log.Fatal(err)
	}
	children[os.Getenv("CHILD")](db)
	log.Fatalf("no child is called %q", os.Getenv("CHILD"))
}

// function starts a child at concurrency 64 on a database of the test's own. stderr
// is what it has written so far.
func function(t *testing.T, env ...string) (f *lmitest.Function, stderr func() string) {
	t.Helper()
	return functionWith(t, lmitest.Config{Env: env})
}

func functionWith(t *testing.T, c lmitest.Config) (f *lmitest.Function, stderr func() string) {
	t.Helper()
	out := &syncBuffer{}
	c.Command, c.Stderr = []string{os.Args[0]}, out
	c.Env = append([]string{"DATABASE_URL=" + pgtest.Database(t)}, c.Env...)
	if c.Timeout == 0 {
		c.Timeout = 15 * time.Second // Lambda's 3 s are too short for 64 invocations that meet on a busy machine
	}
	f, err := lmitest.Start(bounded(t), c)
	require.NoError(t, err)
	t.Cleanup(func() {
		f.Shutdown(context.Background())
		assert.NotContains(t, out.String(), "DATA RACE")
		if t.Failed() {
			t.Logf("the child's log:\n%s", last(out.String(), 8<<10))
		}
	})
	return f, out.String
}

func last(s string, n int) string { return s[max(0, len(s)-n):] }

// ask invokes f with in, and returns its reply, which is never nil, and what it
// decodes to. A request that is throttled is a failure.
func ask[Out any](ctx context.Context, t *testing.T, f *lmitest.Function, in any) (*lmitest.Reply, Out) {
	t.Helper()
	reply, out, err := tryAsk[Out](ctx, t, f, in)
	if !assert.NoError(t, err) {
		return &lmitest.Reply{}, out
	}
	return reply, out
}

// tryAsk is ask for callers who expect that f cannot always be invoked.
func tryAsk[Out any](ctx context.Context, t *testing.T, f *lmitest.Function, in any) (reply *lmitest.Reply, out Out, err error) {
	t.Helper()
	payload, err := json.Marshal(in)
	if err == nil {
		reply, err = f.Invoke(ctx, payload)
	}
	if err == nil && reply.Error == nil && !reply.Streamed {
		assert.NoError(t, json.Unmarshal(reply.Payload, &out), "%s", reply.Payload)
	}
	return reply, out, err
}

// boundedBy is a ctx for a test that takes longer than bounded's.
func boundedBy(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

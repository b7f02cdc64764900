package main

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"testing"
	"time"

	"github.com/lmipool/lmipool/lambdaenv"
	"github.com/lmipool/lmipool/lmitest"
)

// The test's binary is also the function: lmitest starts it with the argument "function".
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "function" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestOneBinaryForBoth(t *testing.T) {
	for kind, maxConns := range map[lambdaenv.Kind]int32{lambdaenv.OnDemand: 2, lambdaenv.ManagedInstances: 16} {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			dsn := os.Getenv("DATABASE_URL")
			if dsn == "" {
				t.Skip("DATABASE_URL is not set: it names a PostgreSQL database")
			}
			f, err := lmitest.Start(t.Context(), lmitest.Config{
				Command: []string{os.Args[0], "function"}, Kind: kind, Timeout: time.Minute,
				Env: []string{"DATABASE_URL=" + dsn}, Stdout: io.Discard, Stderr: io.Discard,
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = f.Shutdown(context.Background()) })
			var first Reply
			for i := range 3 { // one after the other: the same environment serves them all
				r, err := f.Invoke(t.Context(), []byte(`[1, 2, 3]`))
				if err != nil || r.Error != nil {
					t.Fatalf("got %+v, %v", r, err)
				}
				var got Reply
				if err := json.Unmarshal(r.Payload, &got); err != nil {
					t.Fatal(err)
				}
				if i == 0 {
					first = got
				}
				if got != first || got.MaxConns != maxConns || got.Sum != 6 {
					t.Errorf("got %+v, want MaxConns %d, the sum 6 and the process %d", got, maxConns, first.PID)
				}
			}
		})
	}
}

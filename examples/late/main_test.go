package main

import (
	"context"
	"io"
	"os"
	"testing"
	"time"

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

// A late handler costs the others nothing with lmipool's reply in its place, and the process without it.
func TestALateReply(t *testing.T) {
	for standIn, want := range map[string]struct {
		Type        string
		LateReplies int
	}{"on": {"OverrunError", 0}, "off": {lmitest.TypeTimedOut, 1}} {
		t.Run("stand-in "+standIn, func(t *testing.T) {
			t.Parallel()
			dsn := os.Getenv("DATABASE_URL")
			if dsn == "" {
				t.Skip("DATABASE_URL is not set: it names a PostgreSQL database")
			}
			f, err := lmitest.Start(t.Context(), lmitest.Config{
				Command: []string{os.Args[0], "function"}, Timeout: 5 * time.Second,
				// The margins are wide, since a test's machine may be busy.
				Env: []string{"DATABASE_URL=" + dsn, "LMIPOOL_STAND_IN=" + standIn, "LMIPOOL_MARGIN=2s", "LMIPOOL_REPLY_MARGIN=1500ms"}, Stdout: io.Discard, Stderr: io.Discard,
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = f.Shutdown(context.Background()) })
			r, err := f.Invoke(t.Context(), []byte(`{"Milliseconds": 6000}`))
			if err != nil || r.Error == nil || r.Error.Type != want.Type {
				t.Fatalf("got %+v, %v, want a %s", r, err, want.Type)
			}
			// The handler is still running. When it returns, its reply is late, or dropped.
			if want.LateReplies > 0 {
				if err := f.Wait(t.Context(), func(s lmitest.Stats) bool { return s.LateReplies == 1 && s.Exits == 1 }); err != nil {
					t.Error(err)
				}
				return
			}
			time.Sleep(3 * time.Second)
			r, err = f.Invoke(t.Context(), []byte(`{}`))
			if s := f.Stats(); err != nil || r.Error != nil || s.LateReplies != 0 || s.Exits != 0 {
				t.Errorf("the next invocation: got %+v, %v, %+v", r, err, s)
			}
		})
	}
}

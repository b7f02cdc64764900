package check

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/lmitest"
)

// run calls the handler for 64 events, one of which makes its statement fail, and lets the Checker fail t.
func run(t testing.TB, handler func(*lmipool.Pool) func(context.Context, Item) (int, error)) {
	t.Helper()
	if os.Getenv("DATABASE_URL") == "" {
		t.Skip("DATABASE_URL is not set: it names a PostgreSQL database")
	}
	check := lmitest.Check(t)
	db, err := lmipool.Open(t.Context(), "", &lmipool.Config{Observers: []any{check}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	events := make([]Item, 64)
	for i := range events {
		events[i].ID = i
	}
	lmitest.Call(t.Context(), lmitest.CallOptions{Check: check}, lmipool.Handler(db, handler(db)), events)
}

func TestTheHandlerGivesBackWhatItTakes(t *testing.T) { run(t, Left) }

// A test of your own would just fail. This one wants the failure.
func TestThePlantedLeakIsFound(t *testing.T) {
	f := &wantsFailure{TB: t}
	run(f, LeftLeaking)
	for _, end := range f.cleanups {
		end()
	}
	if said := strings.Join(f.said, "\n"); !strings.Contains(said, "stock.go:29") { // where it was acquired
		t.Errorf("want the place of the leak: %s", said)
	}
}

// wantsFailure is a test that is wanted to fail.
type wantsFailure struct {
	testing.TB
	said     []string
	cleanups []func()
}

func (f *wantsFailure) Cleanup(end func()) { f.cleanups = append([]func(){end}, f.cleanups...) }
func (f *wantsFailure) Errorf(format string, args ...any) {
	f.said = append(f.said, fmt.Sprintf(format, args...))
}

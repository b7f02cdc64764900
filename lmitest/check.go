package lmitest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/lmipool/lmipool/internal/gostack"
	"github.com/lmipool/lmipool/observe"
)

// Check returns a Checker, which fails the test t for what a handler must not do, with the place in the handler's code: a lease, transaction or result
// that an invocation did not give back, a reply that lmipool had to send in its place, a panic, and a session that was left with settings, locks, cursors,
// temporary tables or prepared statements. (lmipool mends all that, so nothing fails by itself.)
//
// The Checker is an observer of the pool: put it in Config.Observers. For [Call] put it in CallOptions.Check too. Then late replies and panics also count
// without lmipool's Handler, and so do goroutines of the handler that go on after it has returned.
//
//	check := lmitest.Check(t)
//	db, err := lmipool.Open(ctx, "", &lmipool.Config{Observers: []any{check}})
//	...
//	lmitest.Call(ctx, lmitest.CallOptions{Check: check}, lmipool.Handler(db, handle), events)
//
// A session is judged by what lmipool knows of the statements. When a statement runs for the first time, lmipool does not know yet what it leaves, so a
// test that looks for dirty sessions has to call the handler more than once.
//
// The test fails at its end. What happens after that does not count, so close the pool before: t.Cleanup(db.Close) after Check is right.
func Check(t testing.TB) *Checker {
	c := &Checker{}
	t.Cleanup(func() {
		t.Helper()
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, what := range c.order {
			t.Errorf("lmitest: %s%s", what, times(c.found[what]))
		}
	})
	return c
}

// Checker fails a test: see [Check].
type Checker struct {
	mu    sync.Mutex
	found map[string]int // how often each mistake was made, by its text
	order []string
}

func times(n int) string {
	if n == 1 {
		return ""
	}
	return fmt.Sprintf("\n\t(%d times)", n)
}

// report notes a mistake. Those with the same text count as one, so what must not have a request's id.
func (c *Checker) report(what string, place []string) {
	if i := slices.IndexFunc(place, func(line string) bool { return strings.HasSuffix(line, " runtime/pprof.Do") }); i >= 0 {
		place = place[:i] // from there on it is Call
	}
	if len(place) > 0 {
		what += "\n\tat " + strings.Join(place, "\n\tby ")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.found == nil {
		c.found = make(map[string]int)
	}
	if c.found[what]++; c.found[what] == 1 {
		c.order = append(c.order, what)
	}
}

// call notes what was wrong with one call of Call. If it was late, at is where it was at its deadline.
func (c *Checker) call(late bool, err error, at []string) {
	if late {
		c.report("a handler returned after its deadline: on a managed instance a late reply ends the process", at)
	}
	var p *PanicError
	if errors.As(err, &p) {
		c.report(fmt.Sprintf("a handler panicked, which ends the process on a managed instance: %v", p.Value), p.at)
	}
}

// ObserveLeak notes a leak.
func (c *Checker) ObserveLeak(_ context.Context, e observe.Leak) {
	what := "an invocation did not give back a " + e.For
	if e.SQL != "" {
		what += fmt.Sprintf(", which ran %q", e.SQL)
	}
	c.report(what, e.Place)
}

// ObserveOverrun notes that a handler did not return in time.
func (c *Checker) ObserveOverrun(context.Context, observe.Overrun) {
	c.report("a handler did not return before its deadline: lmipool replied in its place", nil)
}

// ObservePanic notes a panic.
func (c *Checker) ObservePanic(_ context.Context, e observe.Panic) {
	c.report(fmt.Sprintf("%s panicked: %s", e.In, e.Value), e.Place)
}

// ObserveReset notes a session that was left with something in it. That a statement is not known yet, or took a sequence's value, is no mistake.
func (c *Checker) ObserveReset(_ context.Context, e observe.Reset) {
	left := map[observe.ResetReason]string{
		observe.LeftSession:  "settings, cursors, advisory locks, channels or temporary tables, or it took the *pgx.Conn (Conn), and nobody knows",
		observe.LeftPrepared: "statements that it prepared in SQL",
	}[e.Reason]
	if left == "" {
		return
	}
	at := gostack.Here() // whoever gave the connection back waits for this call
	c.report("an invocation left something in its session: "+left, at.Lines())
}

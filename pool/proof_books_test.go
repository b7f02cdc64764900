package pool_test

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// proofBooks are what a fuzz has seen.
type proofBooks struct {
	mu          sync.Mutex
	statements  int
	valid       int // the server could prepare them
	finished    int // and they ended without an error
	hits        int // something planted was reached
	innocent    int // nothing was planted, and nothing reached
	proven      int // of those
	ordinary    int // innocent, and no operator or function of PostgreSQL's has one of the user's beside it
	ofOrdinary  int // proven of those
	trees, runs int
	errors      map[string]int // of statements, by message, with an example
	example     map[string]string
	unseen      map[string]int    // plant → statements that reached it without a finding
	shortest    map[string]string // the shortest of them
	hitBy       map[string]judge  // plant → the judges that have seen it
	through     map[string]int    // production → hits of a plant inside
}

func newProofBooks() *proofBooks {
	return &proofBooks{
		errors: make(map[string]int), example: make(map[string]string), unseen: make(map[string]int), shortest: make(map[string]string),
		hitBy: make(map[string]judge), through: make(map[string]int),
	}
}

// compare notes one statement.
func (w *world) compare(ctx context.Context, seed uint64, s *generated, said *sentence, b *proofBooks) error {
	var why, trace string
	if said.done && (said.hit() || s.plant < 0) {
		var err error
		if !s.writes {
			if why, err = w.p.Findings(ctx, s.sql); err != nil {
				return fmt.Errorf("%s: %w", s.sql, err)
			}
		}
		if trace, err = w.p.Traces(ctx, s.sql); err != nil {
			return fmt.Errorf("%s: %w", s.sql, err)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.statements++
	if said.code != "" {
		key := said.code + " " + said.err
		if len(key) > 60 {
			key = key[:60]
		}
		b.errors[key]++
		b.example[key] = s.sql
	} else {
		b.finished++
	}
	if !said.done {
		return nil
	}
	b.valid++
	if !said.hit() {
		if s.plant < 0 {
			b.innocent++
			good := 0
			if why == "" && (!s.writes || trace == "") {
				good = 1
			}
			b.proven += good
			if w.name == sharedWorld {
				b.ordinary++
				b.ofOrdinary += good
			}
			if good == 1 {
				return nil
			}
			if b.example["not proven"] == "" || w.g.IntN(20) == 0 {
				b.example["not proven"] = cmp.Or(why, trace) + ": " + s.sql
			}
		}
		return nil
	}
	b.hits++
	plantName := "none"
	if s.plant >= 0 {
		pl := w.plants[s.plant]
		plantName = w.name + ": " + pl.sql
		runs := strings.Split(pl.runs, ",")
		for _, seen := range []struct {
			by    judge
			names []string
		}{{byTree, said.tree}, {byRun, said.ran}} {
			for _, name := range seen.names {
				if slices.Contains(runs, name) {
					b.hitBy[plantName] |= seen.by
				}
			}
		}
		for _, u := range s.used {
			b.through[u]++
		}
	}
	if len(said.tree) > 0 {
		b.trees++
	}
	if len(said.ran) > 0 {
		b.runs++
	}
	rides, leaves := !s.writes && why == "", trace == ""
	if rides || leaves {
		kind := map[bool]string{true: "rides", false: "alone, and its session counts as clean"}[rides]
		key := plantName
		if s.plant >= 0 && strings.HasPrefix(w.plants[s.plant].sql, "«@random") {
			key = w.name + ": a view made by chance"
		}
		b.unseen[key]++
		text := fmt.Sprintf("%s; statement %d; tree %v, ran %v:\n      %s", kind, s.i, said.tree, said.ran, s.sql)
		if old := b.shortest[key]; old == "" || len(text) < len(old) {
			b.shortest[key] = text
		}
	}
	return nil
}

// report says what was seen, and fails the test for what the pool has not.
func (b *proofBooks) report(t *testing.T, began time.Time) {
	took := time.Since(began)
	t.Logf("%d statements in %v (%.0f/s): %d valid, %d without an error; %d reached something planted (%d in the tree, %d ran); of %d with nothing planted %d are proven, %d of %d where no name of PostgreSQL's is taken",
		b.statements, took.Round(time.Second), float64(b.statements)/took.Seconds(), b.valid, b.finished, b.hits, b.trees, b.runs, b.innocent, b.proven, b.ofOrdinary, b.ordinary)
	if os.Getenv("LMIPOOL_TEST_PROOF_TALK") != "" {
		for key, n := range b.errors {
			t.Logf("%5d %s\n      %s", n, key, b.example[key])
		}
		t.Log(b.example["not proven"])
	}
	unseen := 0
	var lines []string
	for key, n := range b.unseen {
		unseen += n
		lines = append(lines, fmt.Sprintf("%4d × %s\n      %s", n, key, b.shortest[key]))
	}
	slices.Sort(lines)
	if unseen > 0 {
		t.Errorf("%d statements ran what nobody had seen, of %d kinds:\n%s", unseen, len(lines), strings.Join(lines, "\n"))
	}
}

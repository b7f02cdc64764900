package pool_test

import (
	"cmp"
	"context"
	"fmt"
	"hash/crc32"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/pool"
)

// generated is a statement that was made by chance.
type generated struct {
	i      int
	sql    string
	args   []string
	writes bool
	plant  int      // of its world; -1: nothing is planted
	used   []string // the productions that the plant has gone through
}

// statement makes statement i.
func (w *world) statement(seed uint64, i int) generated {
	w.g.seed(seed, uint64(i))
	s := generated{i: i, plant: -1, writes: w.writes}
	var e expr
	if i%5 == 4 { // nothing is planted
		e = w.g.fill(w.root(), 4, true)
	} else {
		e = w.planted(&s, i/5*4+i%5)
	}
	for i := range w.g.used {
		s.used = append(s.used, w.g.productions[i].sql)
	}
	s.sql, s.args = finish(e.sql, false)
	s.sql = w.g.dress(s.sql)
	return s
}

// planted makes the nth statement with something planted: each plant in its plainest form first, then each production around
// one that it takes.
func (w *world) planted(s *generated, n int) expr {
	s.plant = n % len(w.plants)
	plain, around, wraps := n < len(w.plants), -1, w.g.IntN(3)
	if !plain {
		around = n % len(w.g.productions)
		var fit []int
		for i, pl := range w.plants {
			if w.g.productions[around].takes(pl.typ) {
				fit = append(fit, i)
			}
		}
		if len(fit) > 0 {
			s.plant = fit[w.g.IntN(len(fit))]
		} else {
			around = -1
		}
	}
	if plain {
		e := w.g.expand(w.plants[s.plant].production, nil, 0)
		switch {
		case w.writes && e.typ == "write", e.typ == "stmt":
			return e
		case !w.writes && e.typ[0] == 'q':
			return w.g.closed(e)
		case !w.writes:
			return expr{sql: "select " + e.sql + " from " + w.g.from(e.needs)}
		}
	}
	e := w.g.expand(w.plants[s.plant].production, nil, 2)
	if around >= 0 {
		e = w.g.around(around, e)
	}
	for n := 0; e.typ != w.root(); n++ {
		ok := false
		if n >= wraps {
			e, ok = w.g.wrap(e, w.root())
		}
		if !ok {
			if e, ok = w.g.wrap(e, ""); !ok {
				panic("nothing takes a " + e.typ)
			}
		}
	}
	return e
}

// root is the type of whole statements.
func (w *world) root() string {
	if w.writes {
		return "write"
	}
	return "stmt"
}

// proofBooks are what a fuzz has seen.
type proofBooks struct {
	mu          sync.Mutex
	statements  int
	valid       int // the server could prepare them
	finished    int // and they ended without an error
	hits        int // something planted was reached
	innocent    int // nothing was planted, and nothing reached
	proven      int // of those
	trees, runs int
	errors      map[string]int // of statements, by message, with an example
	example     map[string]string
	unseen      map[string]int    // plant → statements that reached it without a finding
	shortest    map[string]string // the shortest of them
	hitBy       map[string]judge  // plant → the judges that have seen it
	through     map[string]int    // production → hits of a plant inside
	slow        time.Duration
}

func newProofBooks() *proofBooks {
	return &proofBooks{errors: make(map[string]int), example: make(map[string]string), unseen: make(map[string]int), shortest: make(map[string]string),
		hitBy: make(map[string]judge), through: make(map[string]int)}
}

// fuzz makes statements from..to of a world and compares what the pool says of them with what the judges see.
func (w *world) fuzz(ctx context.Context, seed uint64, from, to int, b *proofBooks) error {
	const flight, fresh = 16, 4 // a new connection after so many flights: what a session has cached does not run again
	for n := 0; from < to; n, from = n+1, from+flight {
		if n%fresh == 0 {
			if err := w.connectJudges(ctx); err != nil {
				return err
			}
		}
		var batch []generated
		for i := from; i < min(to, from+flight); i++ {
			batch = append(batch, w.statement(seed, i))
		}
		sentences := make([]sentence, len(batch))
		for k, j := range w.judges {
			said, err := j.judge(batch, w.names)
			if err != nil {
				return fmt.Errorf("%s, seed %d, statements %d to %d: %w", w.name, seed, from, from+flight, err)
			}
			for i, s := range said {
				sentences[i].tree = append(sentences[i].tree, s.tree...)
				for _, name := range s.ran {
					sentences[i].ran = addNew(sentences[i].ran, name)
				}
				if k == 0 {
					sentences[i].done, sentences[i].code, sentences[i].err = s.done, s.code, s.err
				}
			}
		}
		for i := range batch {
			if err := w.compare(ctx, seed, &batch[i], &sentences[i], b); err != nil {
				return err
			}
		}
	}
	return nil
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
			if why == "" && (!s.writes || trace == "") {
				b.proven++
			} else if b.example["not proven"] == "" || w.g.IntN(20) == 0 {
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
		kind := map[bool]string{true: "rides", false: "leaves nothing, it says"}[rides]
		key := plantName
		b.unseen[key]++
		text := fmt.Sprintf("%s; statement %d; tree %v, ran %v:\n      %s", kind, s.i, said.tree, said.ran, s.sql)
		if old := b.shortest[key]; old == "" || len(text) < len(old) {
			b.shortest[key] = text
		}
	}
	return nil
}

// worlds are the databases of a fuzz: one for all kits that go together, one for each other.
func worlds() map[string][]kit {
	all := map[string][]kit{"writes": {writeKit}}
	for _, k := range readKits() {
		if k.apart {
			all[k.name] = []kit{k}
		} else {
			all["together"] = append(all["together"], k)
			if k.name != "views" && k.name != "tables" && k.name != "policies" {
				all["writes"] = append(all["writes"], k)
			}
		}
	}
	return all
}

// everyday is how many statements an ordinary run makes.
const everyday = 2000

// A user's function is put into every place of PostgreSQL's grammar and catalogs that can run one. The server says, by the
// rewritten tree of a statement and by running it, whether a function was reached; the pool must have known. Make fuzz-proof
// runs it for LMIPOOL_TEST_PROOFS statements on each version.
func TestNothingOfTheUsersRunsUnseen(t *testing.T) {
	t.Parallel()
	total := envInt(t, "LMIPOOL_TEST_PROOFS", everyday)
	seed := uint64(1) // the everyday run is always the same one
	if total != everyday || os.Getenv("LMIPOOL_TEST_SEED") != "" {
		seed = envSeed(t)
	}
	only := os.Getenv("LMIPOOL_TEST_PROOF_WORLD")
	all := worlds()
	plants := 0
	for _, kits := range all {
		for _, k := range kits {
			plants += len(k.plants) + 12
		}
	}
	b := newProofBooks()
	var mu sync.Mutex
	covered := make(map[string]judge)
	began := time.Now()
	productions := make(map[string]bool)
	t.Run("worlds", func(t *testing.T) {
		for name, kits := range all {
			if only != "" && only != name {
				continue
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				n := 0
				for _, k := range kits {
					n += len(k.plants) + 12
				}
				const most = 5000 // of one database: then the views are made anew
				share := total * n / plants
				for done := 0; done < share; done += most {
					seed := seed + uint64(crc32.ChecksumIEEE([]byte(name))) + uint64(done)
					w := newWorld(t, name, kits, seed, &pool.Config{MaxConns: 2})
					mu.Lock()
					for _, pr := range w.g.productions {
						productions[pr.sql] = true
					}
					for _, pl := range w.plants {
						if pl.sees != 0 && w.writes == (pl.typ == "write") {
							covered[w.name+": "+pl.sql] = pl.sees
						}
					}
					mu.Unlock()
					require.NoError(t, w.fuzz(t.Context(), seed, done, min(share, done+most), b))
				}
			})
		}
	})
	b.report(t, began)
	var never []string
	for name, sees := range covered {
		if missing := sees &^ b.hitBy[name]; missing != 0 {
			never = append(never, fmt.Sprintf("%s: %v", name, map[judge]string{byTree: "not in a tree", byRun: "did not run", byBoth: "not reached"}[missing]))
		}
	}
	for sql := range productions {
		if b.through[sql] == 0 {
			never = append(never, "nothing was reached through: "+sql)
		}
	}
	slices.Sort(never)
	if only == "" && total >= everyday {
		assert.Empty(t, never, strings.Join(never, "\n"))
	}
}

// report says what was seen, and fails the test for what the pool has not.
func (b *proofBooks) report(t *testing.T, began time.Time) {
	took := time.Since(began)
	t.Logf("%d statements in %v (%.0f/s): %d valid, %d without an error; %d reached something planted (%d in the tree, %d ran); of %d with nothing planted %d are proven",
		b.statements, took.Round(time.Second), float64(b.statements)/took.Seconds(), b.valid, b.finished, b.hits, b.trees, b.runs, b.innocent, b.proven)
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

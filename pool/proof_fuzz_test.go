package pool_test

import (
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

// worlds are the databases of a fuzz: one for all kits that go together, one for each other.
func worlds() map[string][]kit {
	all := map[string][]kit{"writes": {writeKit}}
	for _, k := range readKits() {
		if k.apart {
			all[k.name] = []kit{k}
		} else {
			all[sharedWorld] = append(all[sharedWorld], k)
			if k.name != "views" && k.name != "tables" && k.name != "policies" {
				all["writes"] = append(all["writes"], k)
			}
		}
	}
	return all
}

const (
	everyday    = 2000       // statements of an ordinary run
	sharedWorld = "together" // the name of the world of all kits that go together
)

// A user's function is put into every place of PostgreSQL's grammar and catalogs that can run one. The server says, by the
// rewritten tree of a statement and by running it, whether a function was reached; the pool must have known. Make fuzz-proof
// runs it for LMIPOOL_TEST_PROOFS statements on each version. A failure comes again with the same LMIPOOL_TEST_SEED and
// LMIPOOL_TEST_PROOFS; LMIPOOL_TEST_PROOF_WORLD is one of the databases to run alone, LMIPOOL_TEST_PROOF_TALK=1 tells which
// statements the server refuses.
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
		if b.through[sql] == 0 && total >= 5*everyday { // it takes some luck
			never = append(never, "nothing was reached through: "+sql)
		}
	}
	slices.Sort(never)
	// What refuses everything proves nothing (with the look at plans it was three of four).
	assert.GreaterOrEqual(t, 10*b.ofOrdinary, 6*b.ordinary, "too little is proven")
	if only == "" && total >= everyday {
		assert.Empty(t, never, strings.Join(never, "\n"))
	}
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

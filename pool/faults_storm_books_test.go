package pool_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// claims are what callers were told. What was found to be wrong is in the books.
type claims struct {
	*books
	mu     sync.Mutex
	all    []claim
	counts map[string]int // by fate and way
	ways   map[string]map[string]int
}

// claim is what somebody was told of what he wrote, and for whom.
type claim struct {
	id          int64
	way, tenant string
	class       string // of the error, or fateAcknowledged
	err         error
}

// The fates of calls, beside the classes of errors.
const (
	fateAcknowledged = "done"
	fateUndone       = "not committed"
	fateHappened     = unknown + ": written"
	fateLost         = unknown + ": not written"
)

func newClaims() *claims {
	return &claims{books: newBooks(0), counts: make(map[string]int), ways: make(map[string]map[string]int)}
}

// stormClass is what err says is to be done about it.
func stormClass(err error) string {
	var own *undone
	switch {
	case err == nil:
		return fateAcknowledged
	case errors.As(err, &own):
		return fateUndone
	}
	return strings.Join(classes(err), " and ")
}

// note notes what came of a call.
func (b *claims) note(u *turn, err error) {
	of := claim{u.id, u.name, u.tenant, stormClass(err), err}
	var wrong *foreign
	switch {
	case errors.As(err, &wrong):
		b.violation("an answer that is not its own", "%s: %v", u.name, err)
		return
	case strings.Contains(of.class, " and "):
		b.violation("more than one class", "%s: %s: %v", u.name, of.class, err)
	case of.class == giveUp, of.class == misconfigured: // nothing that a network does is the caller's fault
		b.violation("an error of nobody's", "%s: %s: %T %v", u.name, of.class, err, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.countLocked(of.class, of.way, 1)
	if u.writes {
		b.all = append(b.all, of)
	}
}

func (b *claims) countLocked(fate, way string, n int) {
	b.counts[fate] += n
	if b.ways[fate] == nil {
		b.ways[fate] = make(map[string]int)
	}
	b.ways[fate][way] += n
}

// rows are the tenants of what was written, by id.
func (f *faults) rows() map[int64][]string {
	all := make(map[int64][]string)
	rows, err := f.see.c.Query(bounded(f.t), "select id, tenant from t")
	require.NoError(f.t, err)
	var id int64
	var tenant string
	_, err = pgx.ForEachRow(rows, []any{&id, &tenant}, func() error {
		all[id] = append(all[id], tenant)
		return nil
	})
	require.NoError(f.t, err)
	return all
}

// audit compares what callers were told with what the server has.
func (b *claims) audit(rows map[int64][]string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.all {
		got := rows[c.id]
		delete(rows, c.id)
		switch {
		case len(got) > 1:
			b.violation("written twice", "%s: %d times, %s: %v", c.way, len(got), c.class, c.err)
		case c.class == fateAcknowledged && len(got) == 0:
			b.violation("acknowledged, but lost", "%s", c.way)
		case c.class == unknown && len(got) == 1:
			b.countLocked(fateHappened, c.way, 1)
		case c.class == unknown:
			b.countLocked(fateLost, c.way, 1)
		case c.class != fateAcknowledged && len(got) > 0:
			b.violation("applied, though the error says that nothing has happened", "%s, %s: %v", c.way, c.class, c.err)
		}
		if len(got) > 0 && got[0] != c.tenant {
			b.violation("written for somebody else", "%s: for %q, not %q", c.way, got[0], c.tenant)
		}
	}
	for id, got := range rows {
		b.violation("nobody wrote it", "%d: %q", id, got)
	}
}

// add adds the counts of other.
func (b *claims) add(other *claims) {
	for fate, ways := range other.ways {
		for way, n := range ways {
			b.countLocked(fate, way, n)
		}
	}
}

// String is how often which fate was whose.
func (b *claims) String() string {
	var s strings.Builder
	for _, fate := range slices.Sorted(maps.Keys(b.counts)) {
		fmt.Fprintf(&s, "\n%6d %s (", b.counts[fate], fate)
		for i, way := range slices.Sorted(maps.Keys(b.ways[fate])) {
			fmt.Fprintf(&s, "%s%s %d", []string{"", ", "}[min(i, 1)], way, b.ways[fate][way])
		}
		s.WriteString(")")
	}
	return s.String()
}

package facts

import (
	"sync"
	"sync/atomic"
	"time"
)

// Baselines are the facts of a pool, by the baselines of its connections. There is one, unless somebody changes the role's or the
// database's settings while the pool lives.
type Baselines struct {
	shared
	mu     sync.Mutex
	of     map[string]*Facts
	newest atomic.Pointer[Facts]
}

// maxBaselines is how many are kept: who has more has connections to different databases, or settings that never stay.
const maxBaselines = 16

// NewBaselines returns those of a pool that has no connection yet.
func NewBaselines(c Config) *Baselines { return &Baselines{shared: shared{Config: c}} }

// At returns the facts for a new connection with this baseline. Statements are judged by those of the newest connection.
func (b *Baselines) At(baseline string) *Facts {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.of[baseline]
	if f == nil {
		if b.of == nil || len(b.of) >= maxBaselines {
			b.of = map[string]*Facts{}
		}
		f = newFacts(&b.shared)
		b.of[baseline] = f
	}
	b.newest.Store(f)
	return f
}

// Newest returns the facts that statements are judged by; nil: of no connection yet.
func (b *Baselines) Newest() *Facts { return b.newest.Load() }

// Changes returns how often the catalogs were found to be others, Unconfirmed how many rode before that was noticed.
func (b *Baselines) Changes() int64     { return b.changes.Load() }
func (b *Baselines) Unconfirmed() int64 { return b.unconfirmed.Load() }

// NeverOld is for tests of what rides, on machines that are too busy to ask for the sign in time. It is called before use.
func (b *Baselines) NeverOld() { b.slack = time.Minute }

package pool

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/lmipool/lmipool/internal/sqltext"
)

// baselines are the facts of a pool, by the baselines of its connections. There is one, unless somebody changes the role's or the
// database's settings while the pool lives.
type baselines struct {
	allowed              func(sqltext.Function) bool
	rides                *atomic.Int64 // how many there were
	changes, unconfirmed atomic.Int64  // see Stat
	slack                time.Duration // see facts.slack

	mu     sync.Mutex
	of     map[string]*facts
	newest atomic.Pointer[facts]
}

// maxBaselines is how many are kept: who has more has connections to different databases, or settings that never stay.
const maxBaselines = 16

// at returns the facts for a new connection with this baseline. Statements are judged by those of the newest connection.
func (b *baselines) at(baseline string) *facts {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.of[baseline]
	if f == nil {
		if b.of == nil || len(b.of) >= maxBaselines {
			b.of = map[string]*facts{}
		}
		f = newFacts(b.allowed)
		f.of = b
		b.of[baseline] = f
	}
	b.newest.Store(f)
	return f
}

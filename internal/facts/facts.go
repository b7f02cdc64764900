package facts

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lmipool/lmipool/internal/sqltext"
)

// Facts are what is known about the names that statements mention. They hold for the connections of one baseline, since a name means the same on them.
type Facts struct {
	*shared
	gen atomic.Uint64 // the generation of the fields below; a proof holds for one generation

	mu        sync.RWMutex
	learned   uint64 // how often something was added
	global    *globalFact
	functions map[string]*functionFact
	names     map[nameKey]*nameFact
	nodes     map[node]*nodeFact

	age
}

// shared is what all facts of a pool have in common.
type shared struct {
	Config
	Slack       time.Duration // is added to maxSignAge and maxProofAge; only tests on busy machines set it, before the first use
	Changes     atomic.Int64  // how often the catalogs were found to have changed
	Unconfirmed atomic.Int64  // how many statements had ridden since the last right sign when a change was noticed
}

// Config is what facts have to know of their pool.
type Config struct {
	Allowed func(sqltext.Function) bool // reports whether the user has declared this function harmless: see [Allowed]
	Rides   func() int64                // returns how many statements have ridden so far
	Lost    func(error) bool            // reports whether the error says that the connection was lost
}

// Allowed returns a func that reports whether a function is in names. A name is "schema.function", or "function" for one in any schema.
func Allowed(names []string) func(sqltext.Function) bool {
	in := make(map[string]bool, len(names))
	for _, n := range names {
		in[n] = true
	}
	return func(f sqltext.Function) bool { return in[f.Name] || f.Schema != "" && in[f.Schema+"."+f.Name] }
}

// ValidFunction reports whether name is "function" or "schema.function".
func ValidFunction(name string) bool {
	parts := strings.Split(name, ".")
	return len(parts) <= 2 && !slices.Contains(parts, "") && !strings.ContainsAny(name, `()"',;`) && strings.TrimSpace(name) == name
}

// Baselines hold the facts of a pool for each baseline of its connections. There is one, unless the settings of the role or database change.
type Baselines struct {
	shared
	mu     sync.Mutex
	of     map[string]*Facts
	newest atomic.Pointer[Facts]
}

// maxBaselines is how many baselines are kept. If there are more, the settings change all the time or BeforeConnect connects to many databases.
const maxBaselines = 16

// NewBaselines returns the baselines of a pool that has no connection yet.
func NewBaselines(c Config) *Baselines { return &Baselines{shared: shared{Config: c}} }

// At returns the facts for a new connection with this baseline. From now on statements are judged by these facts.
func (b *Baselines) At(baseline string) *Facts {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.of[baseline]
	if f == nil {
		if b.of == nil || len(b.of) >= maxBaselines {
			b.of = map[string]*Facts{}
		}
		f = &Facts{shared: &b.shared}
		f.clear()
		b.of[baseline] = f
	}
	b.newest.Store(f)
	return f
}

// Newest returns the facts by which statements are judged, or nil if there was no connection yet.
func (b *Baselines) Newest() *Facts { return b.newest.Load() }

// Proven says by which generation of which facts a statement was judged.
type Proven struct {
	facts *Facts
	gen   uint64
}

// Holds reports whether what was judged still holds on a connection with the facts f: they are the same facts, in the same generation.
func (p Proven) Holds(f *Facts) bool { return p.facts == f && f.gen.Load() == p.gen }

// IsFresh reports whether p still holds, by a sign that is young enough for a ride.
func (p Proven) IsFresh() bool { return p.Holds(p.facts) && p.facts.IsFresh(time.Now()) }

// Now returns the present generation of f.
func (f *Facts) Now() Proven { return Proven{f, f.gen.Load()} }

// maxFacts is how many names are known at once. If there are more, all are forgotten, since most of so many names are never used again.
const maxFacts = 8192

// clear forgets all facts. What was proven has to be proven again. The caller holds f.mu, unless nobody else has f yet.
func (f *Facts) clear() {
	f.gen.Add(1)
	f.suspect.Store(false)
	f.global, f.functions = nil, map[string]*functionFact{}
	f.names, f.nodes = map[nameKey]*nameFact{}, map[node]*nodeFact{}
}

// learn adds k. If anew is true, it forgets all other facts first, because the catalogs have changed.
func (f *Facts) learn(k *known, anew bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if anew || len(f.functions)+len(f.names) > maxFacts {
		f.clear()
	}
	differs := adds(f.functions, k.functions)
	differs = adds(f.names, k.names) || differs
	differs = adds(f.nodes, k.nodes) || differs
	if k.global != nil {
		differs = differs || f.global != nil && f.global.sign != k.global.sign
		f.global = k.global
	}
	if differs {
		f.suspect.Store(true)
	}
	f.learned++
	if at := f.signedAt.Load(); at != nil && k.asked.Before(*at) {
		asked := k.asked
		f.signedAt.Store(&asked) // a sign that was taken since k was asked for does not cover k
	}
	for n := range k.nodes {
		f.nodes[n].deep = extentOf(f.nodes, n)
	}
}

// adds adds more to have. It reports whether a fact in have has another sign now: then the catalogs have changed, and other facts may be wrong too.
func adds[K comparable, V interface{ is() int64 }](have, more map[K]V) (differs bool) {
	for name, v := range more {
		was, known := have[name]
		differs = differs || known && was.is() != v.is()
		have[name] = v
	}
	return differs
}

// age says when facts were last known to be right, and who asks whether they still are.
type age struct {
	signedAt atomic.Pointer[time.Time] // when the last right sign was asked for; nil: never
	ridden   atomic.Int64              // how many statements had ridden when the last right sign came
	asking   atomic.Pointer[time.Time] // since when somebody is asking for a sign; nil: nobody is asking
	suspect  atomic.Bool               // some facts do not hold any more
	turns    atomic.Uint64             // how often facts have turned out to be wrong
	resting  atomic.Pointer[time.Time] // since when no question is asked, because the last one was not answered; nil if the last one was
}

// passed returns how much time has passed from at to now: what the monotonic clock says or what the wall clock says, whichever is more. The monotonic
// clock may stand still while Lambda has frozen the process, and the wall clock may be set back.
func passed(at, now time.Time) time.Duration {
	return max(now.Sub(at), now.Round(0).Sub(at.Round(0)))
}

const (
	maxSignAge     = 800 * time.Millisecond // how old the last right sign may be when a ride is sent
	maxProofAge    = time.Second            // how old the last right sign may be when a ride's answer is read
	signEvery      = 400 * time.Millisecond // how old the last right sign is when the next one is asked for
	askTimeout     = 5 * time.Second        // after this time somebody else may ask for a sign
	restAfterFault = 500 * time.Millisecond // how long no question is asked after one that was not answered
)

// RightAt is the last moment at which all facts are known to have been right. It is zero if there was none.
func (a *age) RightAt() (at time.Time) {
	if signed := a.signedAt.Load(); signed != nil {
		at = *signed
	}
	return at
}

// IsSuspect reports whether some of the facts do not hold any more.
func (a *age) IsSuspect() bool { return a.suspect.Load() }

// IsDue reports whether it is time to ask for the sign, or to ask again for facts that are wrong. Before the first fact is known it returns false.
func (a *age) IsDue(now time.Time) bool {
	at := a.signedAt.Load()
	return at != nil && (a.suspect.Load() || passed(*at, now) >= signEvery) && !a.rests(now)
}

// Claim reports whether the caller must ask for the sign now. Nobody else asks until the caller calls Release, or askTimeout has passed.
func (a *age) Claim(now time.Time) bool {
	since := a.asking.Load()
	if !a.IsDue(now) || since != nil && passed(*since, now) <= askTimeout {
		return false
	}
	at := now
	return a.asking.CompareAndSwap(since, &at)
}

// Release lets others ask for the sign again after a Claim that returned true.
func (a *age) Release() { a.asking.Store(nil) }

// rests reports whether no question may be asked now, because the last one was not answered.
func (a *age) rests(now time.Time) bool {
	since := a.resting.Load()
	return since != nil && passed(*since, now) < restAfterFault
}

// Belief remembers that a connection was handed on without a reset, because the facts said that its user had left nothing. A change of the catalogs is
// noticed up to a second late, and until then a new trigger may have set something. So the connection is reset in front of its next user's first flight if
// the facts have turned out to be wrong since, or there was no right sign for a second. The zero value means clean.
type Belief struct {
	at   time.Time // when the connection was last handed on without a reset; zero: never
	turn uint64    // age.turns when it was first handed on without a reset
}

// Note notes that the connection is handed on without a reset because of f. A nil f changes nothing.
func (b *Belief) Note(f *Facts) {
	if f == nil || f.signedAt.Load() == nil {
		return
	}
	if b.at.IsZero() {
		b.turn = f.turns.Load()
	}
	b.at = time.Now()
}

// MayBeWrong reports whether an earlier user may have left something although the facts said that he had not.
func (b *Belief) MayBeWrong(f *Facts) bool {
	if f == nil || b.at.IsZero() {
		return false
	}
	right := f.RightAt()
	return b.turn != f.turns.Load() || right.Before(b.at) && passed(right, time.Now()) > maxProofAge
}

package facts

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lmipool/lmipool/internal/sqltext"
)

// Facts are what is known about the names that statements mention. They hold for the connections of one baseline: the same
// database, role and search_path, so that a name means the same.
type Facts struct {
	*shared
	gen atomic.Uint64 // of what is below; a proof holds for one

	mu        sync.RWMutex
	learned   uint64 // how often something was added
	global    *globalFact
	functions map[string]*functionFact
	names     map[nameKey]*nameFact
	nodes     map[node]*nodeFact
	bodies    bool // a function of an extension has one that counts

	age
}

// shared is what all facts of a pool have in common.
type shared struct {
	Config
	slack                time.Duration // see [Baselines.NeverOld]
	changes, unconfirmed atomic.Int64
}

// Config says what the facts of a pool are to know of it.
type Config struct {
	Allowed func(sqltext.Function) bool // the user has vouched for this function: see [Allowed]
	Rides   func() int64                // how many statements have ridden
	Lost    func(error) bool            // the error is of a connection that was lost
}

// Allowed reports of a function whether it is one of names, each "function", in any schema, or "schema.function".
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
		f = &Facts{shared: &b.shared}
		f.clear(everything)
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

// NeverOld lets facts count for a minute longer. Tests of what rides call it, before the first use, since a busy machine may ask for the sign too late.
func (b *Baselines) NeverOld() { b.slack = time.Minute }

// Proven is what was known at some moment: by which facts something was judged, and which generation of them.
type Proven struct {
	facts *Facts
	gen   uint64
}

// Holds reports whether that is still what f says, the facts of a connection.
func (p Proven) Holds(f *Facts) bool { return p.facts == f && f.gen.Load() == p.gen }

// Now is what is known now.
func (f *Facts) Now() Proven { return Proven{f, f.gen.Load()} }

// maxFacts is how many names are known at once. Beyond that all are forgotten: whoever has so many has texts with names
// that never come again.
const maxFacts = 8192

// clear forgets some of what is known. f.mu is held, or nobody else has f.
func (f *Facts) clear(some parts) {
	f.gen.Add(1)
	if some&ofNames != 0 {
		f.names, f.nodes = map[nameKey]*nameFact{}, map[node]*nodeFact{}
	}
	if some&ofFunctions != 0 {
		f.functions, f.bodies = map[string]*functionFact{}, false
	}
	if some&ofGlobal != 0 {
		f.global = nil
	}
}

// learn adds what was found out. It takes the place of the parts of what was known that are to be known anew, since the catalogs have
// changed; and what was proven before is to be proven again.
func (f *Facts) learn(k *known, anew parts) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.functions)+len(f.names) > maxFacts {
		anew = everything
	}
	if anew != 0 {
		f.clear(anew)
	}
	wrong := f.wrong &^ anew
	// What is known and comes back with another sign has changed meanwhile, and what was derived from it may be wrong.
	if k.global != nil {
		if f.global != nil && f.global.sign != k.global.sign {
			wrong |= ofGlobal
		}
		f.global = k.global
	}
	for name, v := range k.functions {
		if was := f.functions[name]; was != nil && was.sign != v.sign {
			wrong |= ofFunctions
		}
		f.functions[name] = v
		f.bodies = f.bodies || len(v.bodies) > 0
	}
	for name, v := range k.names {
		if was := f.names[name]; was != nil && was.sign != v.sign {
			wrong |= ofNames
		}
		f.names[name] = v
	}
	for n, v := range k.nodes {
		if was := f.nodes[n]; was != nil && was.sign != v.sign {
			wrong |= ofNames
		}
		f.nodes[n] = v
	}
	f.isWrong(wrong)
	f.learned++
	f.snapshot = ""
	if asked := k.asked.UnixNano(); asked < f.signedAt.Load() {
		f.signedAt.Store(asked) // a sign that came meanwhile was not of this
	}
	for n := range k.nodes {
		f.nodes[n].deep = extentOf(f.nodes, n)
	}
}

// age is when what is known was last right, and what of it is known not to be. What is not atomic is guarded by the mutex of its Facts.
type age struct {
	snapshot string // of the last sign, if nothing was under way in it; "": unknown
	wrong    parts  // what is known not to hold any more
	restAt   int64  // when the rest was right, if a sign has told what is wrong, in nanoseconds

	signedAt atomic.Int64  // when the last sign that was right was asked for, in nanoseconds; 0: never
	ridden   atomic.Int64  // how many had ridden when the last sign came that was right
	asking   atomic.Int64  // since when somebody is asking for one; 0: nobody is
	suspect  atomic.Bool   // there is something in wrong
	turns    atomic.Uint64 // how often that was so
	restTill atomic.Int64  // no question before then: the last could not be answered
}

const (
	maxSignAge     = 800 * time.Millisecond // of the last sign when a ride is sent
	maxProofAge    = time.Second            // and when its answer is read
	signEvery      = 400 * time.Millisecond // is when the next sign is asked for
	askTimeout     = 5 * time.Second        // bounds a question, while its connection is out
	restAfterFault = 500 * time.Millisecond // in which nothing is asked after a question that could not be answered
)

// RightAt is when what is known was right, for certain.
func (a *age) RightAt() time.Time { return time.Unix(0, a.signedAt.Load()) }

// IsSuspect reports whether some of the facts do not hold any more.
func (a *age) IsSuspect() bool { return a.suspect.Load() }

// IsDue reports whether it is time to ask for the sign again, or for what is not known to be right any more. As long as nothing
// is known there is nothing to ask for.
func (a *age) IsDue(now time.Time) bool {
	return a.signedAt.Load() != 0 && (a.suspect.Load() || now.UnixNano()-a.signedAt.Load() >= int64(signEvery)) && !a.rests(now)
}

// Claim reports whether the caller is to ask for the sign now. Then he calls Release when he has the answer; nobody else
// asks until then, or until it can come no more.
func (a *age) Claim(now time.Time) bool {
	since := a.asking.Load()
	return a.IsDue(now) && (since == 0 || now.UnixNano()-since > int64(askTimeout)) && a.asking.CompareAndSwap(since, now.UnixNano())
}

// Release ends what Claim began.
func (a *age) Release() { a.asking.Store(0) }

// rests reports whether nothing is to be asked for a while.
func (a *age) rests(now time.Time) bool { return now.UnixNano() < a.restTill.Load() }

// isWrong notes which facts do not hold any more.
func (a *age) isWrong(some parts) {
	a.wrong = some
	a.suspect.Store(some != 0)
}

// right notes that all was right at sent, by snapshot, when so many had ridden.
func (a *age) right(sent time.Time, snapshot string, rode int64) {
	a.ridden.Store(rode)
	a.snapshot = snapshot
	a.signedAt.Store(sent.UnixNano())
}

// Belief is by what a connection was handed on without a reset: by facts that say that its user has left nothing. A change of the catalogs
// ends them, and is noticed up to a second later: until then a trigger that is new may have set something. So the connection remembers when
// it was handed on like that. Once it is known that the facts were wrong, or a second later if nobody has asked since whether they are
// right, it is to be reset in front of its next user's first flight. The zero value is for a connection that was reset since, or is new.
type Belief struct {
	at   int64  // when, the last time, in nanoseconds
	turn uint64 // how often the facts had turned out to be wrong
}

// Note notes that the connection is handed on without a reset, by f; nil: nothing is known, so nothing is believed.
func (b *Belief) Note(f *Facts) {
	if f == nil || f.signedAt.Load() == 0 {
		return
	}
	if b.at == 0 {
		b.turn = f.turns.Load()
	}
	b.at = time.Now().UnixNano()
}

// MayBeWrong reports whether an earlier user may have left something after all.
func (b *Belief) MayBeWrong(f *Facts) bool {
	if f == nil || b.at == 0 {
		return false
	}
	right := f.signedAt.Load()
	return b.turn != f.turns.Load() || right < b.at && time.Now().UnixNano()-right > int64(maxProofAge)
}

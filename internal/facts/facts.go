package facts

import (
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

// Proven is what was known at some moment: by which facts something was judged, and which generation of them.
type Proven struct {
	facts *Facts
	gen   uint64
}

// Holds reports whether that is still what f says, the facts of a connection.
func (p Proven) Holds(f *Facts) bool { return p.facts == f && f.gen.Load() == p.gen }

// Now is what is known now.
func (f *Facts) Now() Proven { return Proven{f, f.gen.Load()} }

// IsFresh reports whether what is known was right a moment ago: a ride may be sent.
func (f *Facts) IsFresh(now time.Time) bool { return f.isFresh(now, f.slack) }

// TooOld reports whether the answer of a ride does not count any more that is read this long after what is known was right.
func (f *Facts) TooOld(since time.Duration) bool { return since > maxProofAge+f.slack }

// maxFacts is how many names are known at once. Beyond that all are forgotten: whoever has so many has texts with names
// that never come again.
const maxFacts = 8192

func newFacts(of *shared) *Facts {
	f := &Facts{shared: of}
	f.clear(everything)
	return f
}

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
		f.derived(anew)
	}
	// What is known and comes back with another sign has changed meanwhile, and what was derived from it may be wrong.
	if f.global != nil && k.global != nil && f.global.sign != k.global.sign {
		f.suspects(ofGlobal)
	}
	if k.global != nil {
		f.global = k.global
	}
	for name, v := range k.functions {
		if f.functions[name] != nil && f.functions[name].sign != v.sign {
			f.suspects(ofFunctions)
		}
		f.functions[name] = v
		f.bodies = f.bodies || len(v.bodies) > 0
	}
	for name, v := range k.names {
		if f.names[name] != nil && f.names[name].sign != v.sign {
			f.suspects(ofNames)
		}
		f.names[name] = v
	}
	for n, v := range k.nodes {
		if f.nodes[n] != nil && f.nodes[n].sign != v.sign {
			f.suspects(ofNames)
		}
		f.nodes[n] = v
	}
	f.learned++
	f.added(k.asked)
	for n := range k.nodes {
		f.nodes[n].deep = extentOf(f.nodes, n)
	}
}

package pool

import (
	"cmp"
	"sync"
	"sync/atomic"

	"github.com/lmipool/lmipool/internal/sqltext"
)

// facts are what is known about the names that statements mention: may they be, or lead to, code of the user's own? They
// hold for the connections of one baseline: the same database, role and search_path, so that a name means the same.
//
// A statement is proven if all that it mentions is known, and nothing of it is the user's own. So a new text of known
// names needs no question to the server. What is derived from the catalogs comes with a sign, a sum over the rows that
// it was derived from; while the server still gives the same sum, it is still true. See signs.go.
type facts struct {
	allowed func(sqltext.Function) bool // Config.LaneFunctions
	of      *baselines                  // nil in tests

	gen atomic.Uint64 // of what is below; a verdict holds for one

	mu        sync.RWMutex
	learned   uint64 // how often something was added
	snapshot  string // of the last sign, if nothing was under way in it; "": unknown
	global    *globalFact
	functions map[string]*functionFact
	names     map[nameKey]*nameFact
	nodes     map[node]*nodeFact
	bodies    bool // one of the functions has some

	signedAt atomic.Int64  // when the last sign that was right was asked for, in nanoseconds; 0: never
	ridden   atomic.Int64  // how many had ridden when the last sign came that was right
	asking   atomic.Int64  // since when somebody is asking for one; 0: nobody is
	suspect  atomic.Bool   // the last one was not right
	turns    atomic.Uint64 // how often that was so
	restTill atomic.Int64  // no question before then: the last could not be answered
}

// maxFacts is how many names are known at once. Beyond that all are forgotten: whoever has so many has texts with names
// that never come again.
const maxFacts = 8192

// use says what a statement does with a name.
type use uint8

const (
	reads use = iota
	changes
	inserts
)

type nameKey struct {
	sqltext.Name
	use use
}

// node is a relation that is read ('r'), changed ('w') or inserted into ('i'), or a type ('t').
type node struct {
	class byte
	oid   uint32
}

// globalFact is what holds for every statement of the database.
type globalFact struct {
	sign      int64
	operators []operator      // of the user's own
	types     map[uint32]bool // to which the user has given code
	families  map[uint32]bool // operator families to which he has
	builtin   bool            // one of these types is built-in
	sets      bool            // one of the user's functions sets what decides what a text means
}

type operator struct {
	name string
	does sqltext.Function
}

// functionFact is what a function's name may mean.
type functionFact struct {
	sign       int64
	builtin    bool     // one of PostgreSQL's own
	builtinOne bool     // one of these takes one argument
	extension  bool     // one of an extension that says that it is not volatile
	own        []string // schemas of the user's own
	ownOne     []string // of those that take one argument
	types      []uint32 // user-made ones of arguments and results
	sets       bool     // one of them sets what decides what a text means
	bodies     []body   // of an extension's, which name what is looked up in search_path
}

// body is what a function's body in SQL mentions and calls.
type body struct {
	mentions  sqltext.Mentions
	functions []sqltext.Function
}

// nameFact is what a relation's or type's name means, and all that it leads to.
type nameFact struct {
	sign  int64
	nodes []node
}

// nodeFact is what is known about a relation or type.
type nodeFact struct {
	sign int64
	bad  string // why it is no good in itself
	next []node
	own  []sqltext.Function // functions of the user's own that its expressions call
	call []sqltext.Function // all functions that its expressions name
	uses []uint32           // the operator families of the operator classes that it uses
	deep *extent            // what it leads to, itself included; nil: not yet known
}

// extent is all that a node leads to, itself included.
type extent struct {
	bad  string
	own  []sqltext.Function
	call []sqltext.Function
	uses []uint32
	all  []uint32 // the types
}

func newFacts(allowed func(sqltext.Function) bool) *facts {
	f := &facts{allowed: allowed}
	f.clear()
	return f
}

// clear forgets everything. f.mu is held, or nobody else has f.
func (f *facts) clear() {
	f.gen.Add(1)
	f.global, f.bodies = nil, false
	f.functions, f.names, f.nodes = map[string]*functionFact{}, map[nameKey]*nameFact{}, map[node]*nodeFact{}
}

// learn adds what was found out. With anew it takes the place of all that was known, since the catalogs have changed; and what
// was proven before is to be proven again.
func (f *facts) learn(k *known, anew bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if anew || len(f.functions)+len(f.names) > maxFacts {
		f.clear()
	}
	// What is known and comes back with another sign has changed meanwhile, and what was derived from it may be wrong.
	changed := f.global != nil && k.global != nil && f.global.sign != k.global.sign
	if k.global != nil {
		f.global = k.global
	}
	for name, v := range k.functions {
		changed = changed || f.functions[name] != nil && f.functions[name].sign != v.sign
		f.functions[name] = v
		f.bodies = f.bodies || len(v.bodies) > 0
	}
	for name, v := range k.names {
		changed = changed || f.names[name] != nil && f.names[name].sign != v.sign
		f.names[name] = v
	}
	for n, v := range k.nodes {
		changed = changed || f.nodes[n] != nil && f.nodes[n].sign != v.sign
		f.nodes[n] = v
	}
	if changed {
		f.suspect.Store(true)
	}
	f.learned++
	f.snapshot = ""
	if asked := k.asked.UnixNano(); asked < f.signedAt.Load() { // a sign that came meanwhile was not of this
		f.signedAt.Store(asked)
	}
	for n := range k.nodes {
		f.nodes[n].deep = f.reachOf(n)
	}
}

// reachOf collects what n leads to.
func (f *facts) reachOf(n node) *extent {
	r := &extent{}
	seen := map[node]bool{}
	todo := []node{n}
	for len(todo) > 0 {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		k := f.nodes[at]
		if seen[at] {
			continue
		}
		seen[at] = true
		if k == nil { // it was there when the edges were read, and not when the nodes were
			r.bad = cmp.Or(r.bad, "unknown")
			continue
		}
		r.bad = cmp.Or(r.bad, k.bad)
		r.own, r.call = addNew(r.own, k.own...), addNew(r.call, k.call...)
		r.uses = append(r.uses, k.uses...)
		if at.class == 't' {
			r.all = append(r.all, at.oid)
		}
		todo = append(todo, k.next...)
	}
	return r
}

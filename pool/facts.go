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
	wrong     parts  // what is known not to hold any more
	restAt    int64  // when the rest was right, if a sign has told what is wrong, in nanoseconds
	global    *globalFact
	functions map[string]*functionFact
	names     map[nameKey]*nameFact
	nodes     map[node]*nodeFact
	bodies    bool // a function of an extension has one that counts

	signedAt atomic.Int64  // when the last sign that was right was asked for, in nanoseconds; 0: never
	ridden   atomic.Int64  // how many had ridden when the last sign came that was right
	asking   atomic.Int64  // since when somebody is asking for one; 0: nobody is
	suspect  atomic.Bool   // there is something in wrong
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
	oids       string   // a sum over those that have this name
	atomic     bool     // one has a body whose text changes when what it mentions is renamed
	bodies     []body   // of an extension's, which name what is looked up in search_path
	owned      []body   // of the user's own, trigger functions included
}

// body is what a function's body mentions and calls.
type body struct {
	sqltext.Body
	schemas []string // where the names in it may be looked up too: its own search_path, or its owner's schema
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
	runs []string           // functions that its triggers call
	as   []string           // by whom, and so in whose schema, what foreign keys change is changed
	call []sqltext.Function // all functions that its expressions name
	uses []uint32           // the operator families of the operator classes that it uses
	deep *extent            // what it leads to, itself included; nil: not yet known
}

// extent is all that a node leads to, itself included.
type extent struct {
	bad  string
	own  []sqltext.Function
	runs []string
	as   []string
	call []sqltext.Function
	uses []uint32
	all  []uint32 // the types
}

func newFacts(allowed func(sqltext.Function) bool) *facts {
	f := &facts{allowed: allowed}
	f.clear(everything)
	return f
}

// parts are parts of the facts, each of which has a sign of its own.
type parts uint8

const (
	ofNames     parts = 1 << iota // and all that they lead to
	ofFunctions                   //
	ofGlobal                      //
	everything  = ofNames | ofFunctions | ofGlobal
)

// clear forgets some of what is known. f.mu is held, or nobody else has f.
func (f *facts) clear(some parts) {
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

// suspects notes that some of what is known does not hold any more. f.mu is held.
func (f *facts) suspects(some parts) {
	f.wrong |= some
	f.suspect.Store(true)
}

// learn adds what was found out. It takes the place of the parts of what was known that are to be known anew, since the catalogs have
// changed; and what was proven before is to be proven again.
func (f *facts) learn(k *known, anew parts) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.functions)+len(f.names) > maxFacts {
		anew = everything
	}
	if anew != 0 {
		f.clear(anew)
		f.wrong &^= anew
		f.suspect.Store(f.wrong != 0)
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
		r.own, r.call, r.runs = addNew(r.own, k.own...), addNew(r.call, k.call...), addNew(r.runs, k.runs...)
		r.as = addNew(r.as, k.as...)
		r.uses = append(r.uses, k.uses...)
		if at.class == 't' {
			r.all = append(r.all, at.oid)
		}
		todo = append(todo, k.next...)
	}
	return r
}

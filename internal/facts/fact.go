package facts

import (
	"cmp"
	"slices"
	"time"

	"github.com/lmipool/lmipool/internal/sqltext"
)

// FirstUserOID is the first OID of what is not built-in.
const FirstUserOID = 16384

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

// wanted is what is to be asked about.
type wanted struct {
	global    bool
	functions []string
	names     []nameKey
	types     []uint32
}

func (w *wanted) isEmpty() bool {
	return !w.global && len(w.functions) == 0 && len(w.names) == 0 && len(w.types) == 0
}

// add adds what else is wanted, each once.
func (w *wanted) add(more wanted) {
	w.global = w.global || more.global
	w.functions = addNew(w.functions, more.functions...)
	w.names = addNew(w.names, more.names...)
	w.types = addNew(w.types, more.types...)
}

// known is what was found out about some names.
type known struct {
	asked     time.Time
	global    *globalFact
	functions map[string]*functionFact
	names     map[nameKey]*nameFact
	nodes     map[node]*nodeFact
}

// parts are parts of the facts, each of which has a sign of its own.
type parts uint8

const (
	ofNames parts = 1 << iota // and all that they lead to
	ofFunctions
	ofGlobal
	everything = ofNames | ofFunctions | ofGlobal
)

// extentOf collects what n leads to in nodes.
func extentOf(nodes map[node]*nodeFact, n node) *extent {
	r, seen := &extent{}, map[node]bool{}
	for todo := []node{n}; len(todo) > 0; {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		k := nodes[at]
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
		r.runs, r.as, r.uses = addNew(r.runs, k.runs...), addNew(r.as, k.as...), append(r.uses, k.uses...)
		if at.class == 't' {
			r.all = append(r.all, at.oid)
		}
		todo = append(todo, k.next...)
	}
	return r
}

// byUse is what m names, by what it does with it.
func byUse(m *sqltext.Mentions) map[use][]sqltext.Name {
	return map[use][]sqltext.Name{reads: m.Names, changes: m.Changed, inserts: m.Written}
}

// addNew adds what is not there yet.
func addNew[T comparable](have []T, more ...T) []T {
	for _, v := range more {
		if !slices.Contains(have, v) {
			have = append(have, v)
		}
	}
	return have
}

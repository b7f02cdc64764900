package facts

import (
	"cmp"
	"slices"
	"time"

	"github.com/lmipool/lmipool/internal/sqltext"
)

// FirstUserOID is the first OID that is not of a built-in object.
const FirstUserOID = 16384

// The classes of nodes: a relation that is read, changed or inserted into; a type has the class 't'. They also say what a statement does with a name.
const (
	reads   = 'r'
	changes = 'w'
	inserts = 'i'
)

type nameKey struct {
	sqltext.Name
	use byte
}

// node is a relation or a type.
type node struct {
	class byte
	oid   uint32
}

// signed is the sign of a fact.
type signed struct{ sign int64 }

func (s signed) is() int64 { return s.sign }

// globalFact is what concerns every statement of the database.
type globalFact struct {
	signed
	operators []operator      // of the user's own
	types     map[uint32]bool // those to which the user has given code
	families  map[uint32]bool // operator families to which the user has given code
	builtin   bool            // one of types is built-in
}

type operator struct {
	name string
	does sqltext.Function
}

// functionFact is what a function's name may mean.
type functionFact struct {
	signed
	builtin    bool     // one of PostgreSQL's own
	builtinOne bool     // one of PostgreSQL's own that takes one argument
	extension  bool     // a trusted one of an extension
	own        []string // the schemas that have one of the user's own
	ownOne     []string // the schemas that have one of the user's own that takes one argument
	types      []uint32 // types of arguments and results that are not built-in
	sets       bool     // one of them sets something on which the meaning of texts depends
	bodies     []body   // of trusted ones, if their names are looked up in the caller's search_path
	owned      []body   // of the user's own, trigger functions included
}

// body is what a function's body mentions and calls.
type body struct {
	sqltext.Body
	schemas []string // where its names may be looked up too: its own search_path, its owner's schema
}

// nameFact is what a relation's or type's name means, and all that it leads to.
type nameFact struct {
	signed
	nodes []node
}

// nodeFact is what is known about a relation or type.
type nodeFact struct {
	signed
	effects
	next []node
	deep *extent // all that it leads to; nil: not known yet
}

// effects are what using a node, or several, may do.
type effects struct {
	bad  string             // why nothing is proven of what uses it; "": it may be
	own  []sqltext.Function // functions of the user's own that its expressions call
	runs []string           // functions that its triggers call
	as   []string           // the roles that change it for a foreign key, whose schemas are looked into
	call []sqltext.Function // all functions that its expressions name
	uses []uint32           // the operator families of its operator classes
}

// extent is all that a node leads to, itself included.
type extent struct {
	effects
	types []uint32
}

// wanted is what a question is about.
type wanted struct {
	global    bool
	functions []string
	names     []nameKey
	types     []uint32
}

func (w *wanted) isEmpty() bool {
	return !w.global && len(w.functions) == 0 && len(w.names) == 0 && len(w.types) == 0
}

// add adds what more has and w has not.
func (w *wanted) add(more wanted) {
	w.global = w.global || more.global
	w.functions = addNew(w.functions, more.functions...)
	w.names = addNew(w.names, more.names...)
	w.types = addNew(w.types, more.types...)
}

// known is the answer to a question.
type known struct {
	asked     time.Time
	global    *globalFact
	functions map[string]*functionFact
	names     map[nameKey]*nameFact
	nodes     map[node]*nodeFact
}

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
		if k == nil { // it was dropped after the edges were read, and before the nodes were
			r.bad = cmp.Or(r.bad, "unknown")
			continue
		}
		r.bad = cmp.Or(r.bad, k.bad)
		r.own, r.call = addNew(r.own, k.own...), addNew(r.call, k.call...)
		r.runs, r.as, r.uses = addNew(r.runs, k.runs...), addNew(r.as, k.as...), append(r.uses, k.uses...)
		if at.class == 't' {
			r.types = append(r.types, at.oid)
		}
		todo = append(todo, k.next...)
	}
	return r
}

// byUse is the names of m by what the statement does with them.
func byUse(m *sqltext.Mentions) map[byte][]sqltext.Name {
	return map[byte][]sqltext.Name{reads: m.Names, changes: m.Changed, inserts: m.Written}
}

// addNew appends those values of more that have has not.
func addNew[T comparable](have []T, more ...T) []T {
	for _, v := range more {
		if !slices.Contains(have, v) {
			have = append(have, v)
		}
	}
	return have
}

package facts

import (
	"cmp"
	"slices"
	"time"

	"github.com/lmipool/lmipool/internal/sqltext"
)

// FirstUserOID is the lowest OID of an object that is not built-in.
const FirstUserOID = 16384

// The classes of nodes: a relation that is read, changed or inserted into. A type has the class 't'. A nameKey's use has the same values.
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

// signed has the sign of one fact, a number for the rows of the catalogs from which the fact was derived.
type signed struct{ sign int64 }

func (s signed) is() int64 { return s.sign }

// globalFact holds what matters for every statement in the database.
type globalFact struct {
	signed
	operators []operator      // the operators that run code of the user's own
	types     map[uint32]bool // the types to which the user has given code
	families  map[uint32]bool // the operator families to which the user has given code
	builtin   bool            // types has a built-in type
}

type operator struct {
	name string
	does sqltext.Function
}

// functionFact is what a function's name may mean.
type functionFact struct {
	signed
	builtin    bool     // PostgreSQL has a function of this name
	builtinOne bool     // PostgreSQL has a function of this name that takes one argument
	extension  bool     // an extension has a trusted function of this name
	own        []string // the schemas in which the user has a function of this name
	ownOne     []string // the schemas in which the user has a function of this name that takes one argument
	types      []uint32 // the types of arguments and results that are not built-in
	sets       bool     // one of the functions sets something on which the meaning of texts depends
	bodies     []body   // the bodies of trusted functions that look names up in the caller's search_path
	owned      []body   // the bodies of the user's own functions, trigger functions included
}

// body is what a function's body mentions and calls.
type body struct {
	sqltext.Body
	schemas []string // other schemas in which its names may be looked up: the function's own search_path, its owner's schema
}

// nameFact holds the relation and the type for which a name stands.
type nameFact struct {
	signed
	nodes []node
}

// nodeFact is what is known about a relation or type.
type nodeFact struct {
	signed
	effects
	next []node
	deep *extent // all that the node leads to; nil if that is not known yet
}

// effects say what code may run when a statement uses one node or several.
type effects struct {
	bad  string             // why nothing is proven of a statement that uses a node; "" if there is no reason
	own  []sqltext.Function // functions of the user's own that the nodes' expressions call
	runs []string           // functions that the nodes' triggers call
	as   []string           // the roles that change a node for a foreign key; names are looked up in their schemas too
	call []sqltext.Function // all functions that the nodes' expressions name
	uses []uint32           // the operator families of the nodes' operator classes
}

// extent is all that a node leads to, the node included.
type extent struct {
	effects
	types []uint32
}

// wanted lists the names and types about which the server has to be asked.
type wanted struct {
	global    bool
	functions []string
	names     []nameKey
	types     []uint32
}

func (w *wanted) isEmpty() bool {
	return !w.global && len(w.functions) == 0 && len(w.names) == 0 && len(w.types) == 0
}

// add adds to w what more has and w does not have.
func (w *wanted) add(more wanted) {
	w.global = w.global || more.global
	w.functions = addNew(w.functions, more.functions...)
	w.names = addNew(w.names, more.names...)
	w.types = addNew(w.types, more.types...)
}

// known holds the answers to the questions about one wanted, asked at one moment.
type known struct {
	asked     time.Time
	global    *globalFact
	functions map[string]*functionFact
	names     map[nameKey]*nameFact
	nodes     map[node]*nodeFact
}

// extentOf collects all that n leads to, by following the edges between nodes.
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
		if k == nil { // the node was dropped after the edges were read and before the nodes were read
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

// byUse returns the names of m, grouped by what the statement does with them: reads, changes or inserts.
func byUse(m *sqltext.Mentions) map[byte][]sqltext.Name {
	return map[byte][]sqltext.Name{reads: m.Names, changes: m.Changed, inserts: m.Written}
}

// addNew appends to have the values of more that it does not have yet.
func addNew[T comparable](have []T, more ...T) []T {
	for _, v := range more {
		if !slices.Contains(have, v) {
			have = append(have, v)
		}
	}
	return have
}

package pool

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

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

// proof is what the facts say of a statement.
type proof struct {
	gen   uint64
	known bool          // all that the statement mentions is
	why   string        // it may run code of the user's own; "": it is proven that it does not
	rides bool          // what it calls has no effect but its result
	trace sqltext.Trace // what it leaves in its session
	tells bool          // it reaches what tells values of sequences: currval, lastval
	draws bool          // it reaches what changes them: nextval, setval
}

// prove says what is known of a statement that mentions m, names functions and has parameters and columns of types.
func (f *facts) prove(m *sqltext.Mentions, functions []sqltext.Function, types []uint32) (p proof) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	p.gen, p.trace = f.gen.Load(), sqltext.AnyTrace
	m, called := f.expandedLocked(m, types)
	if w := f.missingLocked(m, types); !w.isEmpty() {
		return p
	}
	p.known = true
	if p.why = f.refutedLocked(m, types); p.why != "" {
		return p
	}
	calls := slices.Concat(functions, called)
	for _, r := range f.reachedLocked(m, types) {
		calls = append(calls, r.call...)
	}
	p.rides, p.trace = true, sqltext.NoTrace
	for _, c := range calls {
		if f.trusted(c) {
			continue
		}
		p.rides = p.rides && c.Harmless()
		p.trace = max(p.trace, c.Trace())
		p.tells, p.draws = p.tells || c.TellsSequence(), p.draws || c.Trace() == sqltext.SequenceTrace
	}
	return p
}

// trusted reports whether c is a function of the user's that he has vouched for, or of an extension that says that it is
// not volatile, and no other of its name is anybody else's.
func (f *facts) trusted(c sqltext.Function) bool {
	if f.allowed(c) {
		return true
	}
	k := f.functions[c.Name]
	return k != nil && k.extension && !k.builtin && len(k.own) == 0
}

// ownOf reports whether name may mean a function of the user's own in one of schemas, other than those he has vouched for.
func (f *facts) ownOf(name string, schemas []string) bool {
	return slices.ContainsFunc(schemas, func(s string) bool { return !f.allowed(sqltext.Function{Schema: s, Name: name}) })
}

// refutedLocked says why a statement of known names may run code of the user's own: "" if it certainly does not.
func (f *facts) refutedLocked(m *sqltext.Mentions, types []uint32) string {
	if f.global.builtin {
		return "built-in type"
	}
	for _, name := range m.Called {
		if k := f.functions[name]; f.ownOf(name, k.own) || k.sets {
			return "function"
		}
	}
	for _, name := range m.Dotted {
		k := f.functions[name]
		if f.ownOf(name, k.ownOne) || k.builtinOne && !sqltext.Harmless(name) {
			return "attribute"
		}
	}
	for _, o := range f.global.operators {
		if m.HasOperator(o.name) && !f.allowed(o.does) && !o.does.Harmless() {
			return "operator"
		}
	}
	for _, r := range f.reachedLocked(m, types) {
		if r.bad != "" {
			return r.bad
		}
		if slices.ContainsFunc(r.all, func(t uint32) bool { return f.global.types[t] }) {
			return "type"
		}
		if slices.ContainsFunc(r.uses, func(t uint32) bool { return f.global.families[t] }) {
			return "operator class"
		}
		if slices.ContainsFunc(r.own, func(c sqltext.Function) bool { return !f.allowed(c) }) {
			return "reached function"
		}
	}
	return ""
}

// reachedLocked is what the relations and types that m and types name lead to.
func (f *facts) reachedLocked(m *sqltext.Mentions, types []uint32) (all []*extent) {
	add := func(nodes []node) {
		for _, n := range nodes {
			if k := f.nodes[n]; k != nil && k.deep != nil {
				all = append(all, k.deep)
			}
		}
	}
	for u, names := range byUse(m) {
		for _, n := range names {
			if k := f.names[nameKey{n, u}]; k != nil {
				add(k.nodes)
			}
		}
	}
	for _, t := range types {
		add([]node{{'t', t}})
	}
	for _, name := range m.Called {
		if k := f.functions[name]; k != nil {
			for _, t := range k.types {
				add([]node{{'t', t}})
			}
		}
	}
	return all
}

// expandedLocked is m together with what the bodies of trusted functions mention that it leads to, and the functions that they call.
func (f *facts) expandedLocked(m *sqltext.Mentions, types []uint32) (*sqltext.Mentions, []sqltext.Function) {
	if !f.bodies {
		return m, nil
	}
	var calls []sqltext.Function
	all, seen := *m, map[string]bool{}
	for more := true; more; {
		more = false
		names := slices.Concat(all.Called, all.Dotted)
		for _, r := range f.reachedLocked(&all, types) {
			for _, c := range r.call {
				names = append(names, c.Name)
			}
		}
		for _, name := range names {
			k := f.functions[name]
			if k == nil || seen[name] || len(k.bodies) == 0 {
				continue
			}
			seen[name], more = true, true
			for _, b := range k.bodies {
				all = all.And(&b.mentions)
				calls = append(calls, b.functions...)
			}
		}
	}
	return &all, calls
}

func byUse(m *sqltext.Mentions) map[use][]sqltext.Name {
	return map[use][]sqltext.Name{reads: m.Names, changes: m.Changed, inserts: m.Written}
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

// missing is what is not known yet of what a statement mentions.
func (f *facts) missing(m *sqltext.Mentions, types []uint32) wanted {
	f.mu.RLock()
	defer f.mu.RUnlock()
	m, _ = f.expandedLocked(m, types)
	return f.missingLocked(m, types)
}

// add adds what else is wanted, each once.
func (w *wanted) add(more wanted) {
	w.global = w.global || more.global
	w.functions = addNew(w.functions, more.functions...)
	w.names = addNew(w.names, more.names...)
	w.types = addNew(w.types, more.types...)
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

func (f *facts) missingLocked(m *sqltext.Mentions, types []uint32) (w wanted) {
	w.global = f.global == nil
	for _, names := range [][]string{m.Called, m.Dotted} {
		for _, name := range names {
			k := f.functions[name]
			if k == nil {
				w.functions = append(w.functions, name)
				continue
			}
			w.types = f.unknownLocked(w.types, k.types)
		}
	}
	for u, names := range byUse(m) {
		for _, n := range names {
			if f.names[nameKey{n, u}] == nil {
				w.names = append(w.names, nameKey{n, u})
			}
		}
	}
	w.types = f.unknownLocked(w.types, types)
	return w
}

// unknownLocked adds to missing the types that are not known.
func (f *facts) unknownLocked(missing, types []uint32) []uint32 {
	for _, t := range types {
		if t >= firstUserOID && f.nodes[node{'t', t}] == nil {
			missing = append(missing, t)
		}
	}
	return missing
}

// firstUserOID is the first OID of what is not built-in.
const firstUserOID = 16384

// all is everything that is known, to be asked for once more.
func (f *facts) all() (w wanted) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	w.global = f.global != nil
	for name := range f.functions {
		w.functions = append(w.functions, name)
	}
	for k := range f.names {
		w.names = append(w.names, k)
	}
	for n := range f.nodes {
		if n.class == 't' {
			w.types = append(w.types, n.oid)
		}
	}
	return w
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
		for _, c := range k.own {
			if !slices.Contains(r.own, c) {
				r.own = append(r.own, c)
			}
		}
		for _, c := range k.call {
			if !slices.Contains(r.call, c) {
				r.call = append(r.call, c)
			}
		}
		r.uses = append(r.uses, k.uses...)
		if at.class == 't' {
			r.all = append(r.all, at.oid)
		}
		todo = append(todo, k.next...)
	}
	return r
}

// isFresh reports whether what is known was right a moment ago: a ride may be sent.
func (f *facts) isFresh(now time.Time) bool {
	return !f.suspect.Load() && now.UnixNano()-f.signedAt.Load() < int64(maxSignAge+f.slack())
}

// slack is 0, but in tests of what rides, on machines that are too busy to ask for the sign in time.
func (f *facts) slack() time.Duration {
	if f.of == nil {
		return 0
	}
	return f.of.slack
}

// rightAt is when what is known was right, for certain.
func (f *facts) rightAt() time.Time { return time.Unix(0, f.signedAt.Load()) }

// isDue reports whether it is time to ask for the sign again, or for what is not known to be right any more. As long as nothing
// is known there is nothing to ask for.
func (f *facts) isDue(now time.Time) bool {
	return f.signedAt.Load() != 0 && (f.suspect.Load() || now.UnixNano()-f.signedAt.Load() >= int64(signEvery)) && now.UnixNano() >= f.restTill.Load()
}

const (
	// maxSignAge is how old the last sign may be when a ride is sent, maxProofAge when its answer is read; signEvery is when the
	// next sign is asked for. So no answer that a change of the catalogs has made wrong comes more than a second after it.
	maxSignAge  = 800 * time.Millisecond
	maxProofAge = time.Second
	signEvery   = 400 * time.Millisecond

	// restAfterFault is how long nothing is asked after a question that could not be answered.
	restAfterFault = 500 * time.Millisecond
)

// rest has nothing asked for a while after err, and reports whether it does: a connection that was lost says nothing of the next.
func (f *facts) rest(err error) bool {
	if isLost(err) {
		return false
	}
	f.restTill.Store(time.Now().Add(restAfterFault).UnixNano())
	return true
}

// maySet reports whether code of the user's own may set what decides what a text means, so that what it has planned is to be dropped.
func (f *facts) maySet() bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.global == nil || f.global.sets
}

// why is p's reason in the words of [Stat.AloneCount].
func (p proof) reason() string {
	switch {
	case !p.known:
		return aloneNew
	case p.why != "" || !p.rides:
		return aloneCalls
	}
	return ""
}

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

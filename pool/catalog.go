package pool

import (
	"container/list"
	"sync"
	"time"

	"github.com/lmipool/lmipool/internal/sqltext"
)

const (
	// catalogSize is how many statements the catalog knows, the least recently
	// wanted leave; a statement's text may be catalogText long to be known.
	catalogSize = 1024
	catalogText = 16 << 10

	// slow is how long a statement may take on the server, on average, to ride:
	// those behind it wait that long.
	slow = 10 * time.Millisecond

	// large is how big a result may be, on average, to ride; maxResult how big
	// any may be before it is dropped and its statement runs alone from then on.
	large     = 64 << 10
	maxResult = 256 << 10

	// maxLooks is how often a look may fail for a reason that passes; restAfter is how
	// long a statement that PostgreSQL refuses is left alone: its table may yet come.
	maxLooks  = 5
	restAfter = time.Minute
)

// catalog is what is known about statements, by their text. It is consulted only
// when no connection is idle: until then nobody needs to know.
type catalog struct {
	slow  time.Duration
	mu    sync.Mutex
	bySQL map[catalogKey]*list.Element // of *statement
	used  list.List                    // the most recently wanted first
}

// catalogKey is a text, and the names of the settings of [Pool.With] that it runs with: a
// policy that asks for them has no plan without.
type catalogKey struct{ sql, settings string }

// statement is what is known about one SQL text.
type statement struct {
	catalogKey
	functions []sqltext.Function // named in its text

	// guarded by catalog.mu
	verdict verdict
	trace   sqltext.Trace // what it leaves in its session
	asks    bool          // a look will tell; until then it is taken to leave anything
	looking bool          // it is being looked at
	looks   int           // that found nothing out
	rest    time.Time     // no look for its session before then: it could not even be prepared
	again   bool          // it was wanted more than once
	why     string        // it goes alone
	desc    *description  // nil until it is known to be harmless
	took    average       // on the server
	size    int           // of its results in bytes, a moving average
}

type verdict uint8

const (
	unknown  verdict = iota // the next one that goes alone is looked at
	harmless                // may ride, if it is also short
	alone                   // for good, as long as the catalog knows it
)

func newCatalog() *catalog {
	return &catalog{slow: slow, bySQL: make(map[catalogKey]*list.Element)}
}

// find returns what is known about sql with these settings, looking at its text if it is new.
func (g *catalog) find(sql, settings string) *statement {
	key := catalogKey{sql, settings}
	g.mu.Lock()
	if e, ok := g.bySQL[key]; ok {
		g.used.MoveToFront(e)
		s := e.Value.(*statement)
		s.again = true
		g.mu.Unlock()
		return s
	}
	g.mu.Unlock()

	s := &statement{catalogKey: key}
	s.trace, s.asks, s.functions = sqltext.Session(sql)
	if scan := sqltext.Scan(sql); scan.Refused != "" {
		s.verdict, s.why = alone, aloneText
	} else {
		s.functions = scan.Functions
	}

	g.mu.Lock()
	defer g.mu.Unlock()
	if e, ok := g.bySQL[key]; ok { // somebody else was quicker
		s = e.Value.(*statement)
		s.again = true
		return s
	}
	g.bySQL[key] = g.used.PushFront(s)
	if g.used.Len() > catalogSize {
		last := g.used.Remove(g.used.Back()).(*statement)
		delete(g.bySQL, last.catalogKey)
	}
	return s
}

// mayRide returns what s's arguments have to be encoded for and how long it is
// expected to take, or why it goes alone.
func (g *catalog) mayRide(s *statement) (d *description, expect time.Duration, why string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case s.verdict == alone:
		return nil, 0, s.why
	case s.verdict != harmless:
		return nil, 0, aloneNew
	case s.took.d > g.slow:
		return nil, 0, aloneSlow
	case s.size > large:
		return nil, 0, aloneLarge
	}
	return s.desc, s.took.d, ""
}

// traces returns what s leaves in its session, as far as is known, and whether it is
// worth a look to know more.
func (g *catalog) traces(s *statement) (trace sqltext.Trace, look bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s.asks {
		return sqltext.AnyTrace, s.again && !s.looking && (s.rest.IsZero() || time.Now().After(s.rest))
	}
	return s.trace, false
}

// learn claims the one look that s gets. When there are more texts than the catalog
// has room for, most of them may never come again, and a look costs more than a run:
// then it is for those that have.
func (g *catalog) learn(s *statement) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s.looking || s.verdict != unknown && !s.asks || !s.again && g.used.Len() == catalogSize {
		return false
	}
	s.looking = true
	return true
}

// finding is what a look at a statement has found out.
type finding struct {
	desc   *description  // of one that may ride
	why    string        // of one that goes alone, for good
	trace  sqltext.Trace // what it leaves in its session
	traced bool          // trace is known
	failed bool          // PostgreSQL refuses the statement
}

// learned ends a look. What it has not found out the next one does, up to a bound.
func (g *catalog) learned(s *statement, f finding) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s.looking = false
	if f.failed {
		s.rest = time.Now().Add(restAfter)
		return
	}
	if !f.traced {
		if s.looks++; s.looks == maxLooks {
			f.traced, f.trace, f.why = true, sqltext.AnyTrace, aloneCalls
		}
	}
	switch {
	case s.verdict != unknown:
	case f.desc != nil:
		s.verdict, s.desc = harmless, f.desc
	case f.why != "":
		s.verdict, s.why = alone, f.why
	}
	if f.traced {
		s.trace, s.asks = f.trace, false
	}
}

// isUnknown says whether s may yet turn out to be one that rides.
func (g *catalog) isUnknown(s *statement) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return s.verdict == unknown
}

// isHarmless says whether s could ride, were it short.
func (g *catalog) isHarmless(s *statement) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return s.verdict == harmless
}

// refuse has s go alone from now on.
func (g *catalog) refuse(s *statement, why string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s.verdict, s.why, s.desc = alone, why, nil
	s.trace, s.asks = sqltext.AnyTrace, false
}

// forget has s looked at again, unless somebody has done that since d.
func (g *catalog) forget(s *statement, d *description) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s.verdict == harmless && s.desc == d {
		s.verdict, s.desc = unknown, nil
	}
}

// redescribe has those who ride s from now on encode for d, unless somebody has given it
// another description since old. What s may do is not asked again.
func (g *catalog) redescribe(s *statement, old, d *description) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s.verdict == harmless && s.desc == old {
		s.desc = d
	}
}

// observe notes how long s took on the server and, unless it is negative, how big
// its result was.
func (g *catalog) observe(s *statement, took time.Duration, size int) {
	g.observeAll([]observation{{s, took, size}})
}

func (g *catalog) observeAll(seen []observation) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, o := range seen {
		o.st.observe(o.took, o.size)
	}
}

// observation is how a statement went.
type observation struct {
	st   *statement
	took time.Duration
	size int
}

func (s *statement) observe(took time.Duration, size int) {
	took = max(0, took)
	if !s.took.any { // a hiccup of the first is not the last word
		took /= 2
	}
	s.took.add(took)
	switch {
	case size > maxResult:
		s.size = size
	case size >= 0 && s.size <= maxResult:
		s.size += (size - s.size) / 8
	}
}

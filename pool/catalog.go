package pool

import (
	"container/list"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/sqltext"
)

const (
	// catalogSize is how many statements the catalog knows, catalogBytes how long their texts are together, the least recently
	// wanted leave; a statement's text may be catalogText long to be known. A statement takes about 1 KB beside its text.
	catalogSize  = 4096
	catalogBytes = 4 << 20
	catalogText  = 16 << 10

	// slow is how long a statement may take on the server, on average, to ride:
	// those behind it wait that long.
	slow = 10 * time.Millisecond

	// large is how big a result may be, on average, to ride; maxResult how big
	// any may be before it is dropped and its statement runs alone from then on.
	large     = 64 << 10
	maxResult = memrows.MaxResult

	// maxLooks is how often a statement may fail to be described.
	maxLooks = 5
)

// catalog is what is known about statements, by their text. It is consulted only
// when no connection is idle: until then nobody needs to know.
type catalog struct {
	slow  time.Duration
	facts func() *facts.Facts // that statements are judged by; nil: of no connection yet
	mu    sync.Mutex
	bySQL map[catalogKey]*list.Element // of *statement
	used  list.List                    // the most recently wanted first
	bytes int                          // how long their texts are together
	once  [1024]uint64                 // hashes of texts with comments that were wanted once
}

// catalogKey is a text, and the names of the settings of [Pool.With] that it runs with: a
// policy that asks for them has no plan without.
type catalogKey struct{ sql, settings string }

// statement is what is known about one SQL text.
type statement struct {
	catalogKey
	functions []sqltext.Function // named in its text
	mentions  *sqltext.Mentions  // nil: its text is not to be judged
	sequences sqltext.Sequences  // what its text does with their values
	said      sqltext.Trace      // what it leaves in its session by its text
	asked     bool               // the text alone does not say that: it is a query or a change of data
	aside     bool               // it takes no snapshot, and reads no values of sequences
	meaning   sqltext.Meaning    // what it does by its text to what later texts mean
	commits   bool               // it may commit on its way, by its text

	// guarded by catalog.mu
	alone     string        // why it goes alone, for good; "": it may yet ride
	trace     sqltext.Trace // what it leaves in its session, by its text
	asks      bool          // that is for the functions to say that it leads to
	looking   bool          // it is being described
	looks     int           // that could not describe it
	again     bool          // it was wanted more than once
	steady    steadiness    // of the defaults of the table that sequences names,
	steadyBy  facts.Proven  // as long as these facts hold
	desc      *description  // nil until it is needed
	doubted   bool          // desc may be out of date, and is to be made anew
	doubtedBy facts.Proven  // what was known then: it is doubted once for each
	proof     facts.Proof   // of its text
	took      average       // on the server
	size      int           // of its results in bytes, a moving average
}

func newCatalog(facts func() *facts.Facts) *catalog {
	return &catalog{slow: slow, facts: facts, bySQL: make(map[catalogKey]*list.Element)}
}

// find returns what is known about sql with these settings, looking at its text if it is new. A text with comments that comes for
// the first time is the one without: a comment may be another each time (a trace's id).
func (g *catalog) find(sql, settings string) *statement {
	key := catalogKey{sql, settings}
	if s := g.found(key); s != nil {
		return s
	}
	var same *statement // but for comments
	if plain := sqltext.WithoutComments(sql); plain != sql {
		if same = g.find(plain, settings); !g.wantedBefore(sql) {
			return same
		}
	}
	s := &statement{catalogKey: key}
	s.trace, s.asks, s.functions = sqltext.Session(sql)
	s.sequences = sqltext.SequencesOf(sql)
	s.aside = sqltext.Aside(sql)
	s.said, s.meaning, s.commits = s.trace, sqltext.AfterMeaning(sql), commitsOnItsWay(sql)
	s.asked = s.asks || slices.Contains(plainest, sqltext.First(sql))
	if scan := sqltext.Scan(sql); scan.Refused != "" {
		s.alone = aloneText
	} else {
		s.functions = scan.Functions
	}
	if m, ok := sqltext.Mention(sql); ok {
		s.mentions = &m
	}

	g.mu.Lock()
	defer g.mu.Unlock()
	if e, ok := g.bySQL[key]; ok { // somebody else was quicker
		s = e.Value.(*statement)
		s.again = true
		return s
	}
	if same != nil {
		s.alone, s.desc, s.took, s.size = same.alone, same.desc, same.took, same.size
	}
	g.bySQL[key] = g.used.PushFront(s)
	for g.bytes += len(sql); g.used.Len() > catalogSize || g.bytes > catalogBytes; {
		last := g.used.Remove(g.used.Back()).(*statement)
		delete(g.bySQL, last.catalogKey)
		g.bytes -= len(last.sql)
	}
	return s
}

// found returns the statement of key; nil: there is none.
func (g *catalog) found(key catalogKey) *statement {
	g.mu.Lock()
	defer g.mu.Unlock()
	e, ok := g.bySQL[key]
	if !ok {
		return nil
	}
	g.used.MoveToFront(e)
	s := e.Value.(*statement)
	s.again = true
	return s
}

var hashSeed = maphash.MakeSeed()

// wantedBefore reports whether sql was wanted before, not long ago, and notes that it was.
func (g *catalog) wantedBefore(sql string) bool {
	h := maphash.String(hashSeed, sql)
	g.mu.Lock()
	defer g.mu.Unlock()
	at := &g.once[h%uint64(len(g.once))]
	before := *at == h
	*at = h
	return before
}

// judgeLocked is what facts say of s now.
func (g *catalog) judgeLocked(s *statement, f *facts.Facts) *facts.Proof {
	if f == nil || s.mentions == nil {
		return &unjudged
	}
	if !s.proof.Known || !s.proof.Told || !s.proof.By.Holds(f) {
		s.proof = f.Prove(s.mentions, s.functions, s.desc.userTypes())
	}
	return &s.proof
}

// unjudged is of a statement of which nothing is known.
var unjudged = facts.Proof{Trace: sqltext.AnyTrace}

// reason is p's reason to go alone, in the words of [Stat.AloneCount].
func reason(p *facts.Proof) string {
	switch {
	case !p.Known:
		return aloneNew
	case p.Why != "" || !p.Rides:
		return aloneCalls
	}
	return ""
}

// mayRide returns what s's arguments have to be encoded for and how long it is
// expected to take, or why it goes alone.
func (g *catalog) mayRide(s *statement) (d *description, by facts.Proven, expect time.Duration, why string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s.alone != "" {
		return nil, by, 0, s.alone
	}
	p := g.judgeLocked(s, g.facts())
	switch why = reason(p); {
	case why != "":
	case s.desc == nil:
		why = aloneNew
	case s.took.d > g.slow:
		why = aloneSlow
	case s.size > large:
		why = aloneLarge
	default:
		return s.desc, p.By, s.took.d, ""
	}
	return nil, by, 0, why
}

// leaves says what a statement leaves in its session, as far as is known.
type leaves struct {
	trace sqltext.Trace
	ask   bool // the server could be asked for more
	tells bool // it may tell values of sequences
	draws bool // it may change them
	other bool // by code of the user's own
	plans bool // functions may plan while what decides the meaning of a text is set
}

// leaves says what s leaves in a session, by the facts of its connection.
func (g *catalog) leaves(s *statement, by *facts.Facts) leaves {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := leaves{trace: s.trace, tells: s.sequences.Reads, draws: s.sequences.Draws, plans: true}
	switch {
	case !s.asks:
	case by == nil || s.mentions == nil:
		l.trace = sqltext.AnyTrace
	default:
		p := g.judgeLocked(s, by)
		l.trace, l.ask, l.other, l.plans = p.Trace, !p.Told, p.Why != "", p.Plans
		l.tells, l.draws = l.tells || p.Tells, l.draws || p.Draws
	}
	return l
}

// describe claims the one look that s gets to be described for lanes. When there are more texts than the catalog
// has room for, most of them may never come again, and a look costs more than a run:
// then it is for those that have.
func (g *catalog) describe(s *statement) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s.looking || !g.wantsLocked(s) || !s.again && (g.used.Len() == catalogSize || g.bytes > catalogBytes-catalogText) {
		return false
	}
	s.looking = true
	return true
}

// described ends what describe began. What could not be described may be next time, up to a bound.
func (g *catalog) described(s *statement, d *description, why string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s.looking = false
	switch {
	case why != "":
		s.alone = why
	case d != nil:
		s.desc, s.looks, s.doubted = d, 0, false
	default:
		if s.looks++; s.looks == maxLooks {
			s.alone = aloneCalls
		}
	}
	s.proof.Known = false // the types of its columns and parameters count too
}

// wants says whether s could ride if it was described.
func (g *catalog) wants(s *statement) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.wantsLocked(s)
}

func (g *catalog) wantsLocked(s *statement) bool {
	if s.alone != "" || s.desc != nil && s.proof.Known && !s.doubted {
		return false
	}
	p := g.judgeLocked(s, g.facts())
	return !p.Known || reason(p) == "" && (s.desc == nil || s.doubted)
}

// unproven are the mentions of the statements that were wanted last and are not judged yet.
func (g *catalog) unproven() (ms []*sqltext.Mentions) {
	g.mu.Lock()
	defer g.mu.Unlock()
	e := g.used.Front()
	for range 64 {
		if e == nil {
			break
		}
		if s := e.Value.(*statement); s.mentions != nil && (s.asks && !s.proof.Told || s.alone == "" && !s.proof.Known) {
			ms = append(ms, s.mentions)
		}
		e = e.Next()
	}
	return ms
}

// isHarmless says whether s could ride, were it short.
func (g *catalog) isHarmless(s *statement) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return s.alone == "" && s.desc != nil && reason(g.judgeLocked(s, g.facts())) == ""
}

// refuse has s go alone from now on.
func (g *catalog) refuse(s *statement, why string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s.alone, s.desc = why, nil
	s.trace, s.asks = sqltext.AnyTrace, false
}

// forget has s described again, unless somebody has done that since d.
func (g *catalog) forget(s *statement, d *description) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s.desc == d {
		s.desc, s.proof.Known = nil, false
	}
}

// mayBeOld has s described again, once for what is known by now: an argument could not be encoded for d, so a parameter may
// have another type since.
func (g *catalog) mayBeOld(s *statement, d *description) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s.desc == d && s.doubtedBy != s.proof.By {
		s.doubtedBy, s.doubted = s.proof.By, true
	}
}

// redescribe has those who ride s from now on encode for d, unless somebody has given it
// another description since old.
func (g *catalog) redescribe(s *statement, old, d *description) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if s.desc == old {
		s.desc, s.proof.Known = d, false // its types count too
	}
}

// look notes for riders that are about to be sent how their statements are described by now.
func (g *catalog) look(group []*waiter) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, w := range group {
		w.ride.now = w.ride.st.desc
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

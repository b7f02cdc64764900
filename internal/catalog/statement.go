package catalog

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/sqltext"
)

const (
	MaxText  = 16 << 10 // how long a statement's text may be to be known
	maxLooks = 5        // how often a statement may fail to be described
)

// Text is what is known of a statement by its text. It never changes.
type Text struct {
	Key
	Functions []sqltext.Function // named in it
	Mentions  *sqltext.Mentions  // nil: it is not to be judged
	Sequences sqltext.Sequences  // what it does with their values
	Trace     sqltext.Trace      // what it leaves in its session
	Asks      bool               // that is for the functions to say that it leads to
	IsPlain   bool               // it does not say that by itself: it is a query or a change of data
	Aside     bool               // it takes no snapshot, and reads no values of sequences
	Meaning   sqltext.Meaning    // what it does to what later texts mean
	Commits   bool               // it may commit on its way
	IsRead    bool               // it may ride
}

// textOf looks at a text.
func textOf(k Key) Text {
	t := Text{Key: k, Sequences: sqltext.SequencesOf(k.SQL), Aside: sqltext.Aside(k.SQL), Meaning: sqltext.AfterMeaning(k.SQL), Commits: sqltext.CommitsOnItsWay(k.SQL)}
	t.Trace, t.Asks, t.Functions = sqltext.Session(k.SQL)
	t.IsPlain = t.Asks || slices.Contains(sqltext.Plainest, sqltext.First(k.SQL))
	if scan := sqltext.Scan(k.SQL); scan.Refused == "" {
		t.IsRead, t.Functions = true, scan.Functions
	}
	if m, ok := sqltext.Mention(k.SQL); ok {
		t.Mentions = &m
	}
	return t
}

// Statement is what is known about one SQL text. Its methods may be called by anybody.
type Statement struct {
	Text
	*rules

	// guarded by rules.mu
	again bool   // it was wanted more than once
	alone string // why it goes alone, for good; "": it may yet ride
	wrote bool   // the guard has stopped it: nobody knows what it does
	proof facts.Proof
	pace

	desc      atomic.Pointer[Description] // nil until it is needed; stored under rules.mu
	looking   bool                        // it is being described
	looks     int                         // that could not describe it
	doubted   bool                        // desc may be out of date, and is to be made anew
	doubtedBy facts.Proven                // what was known then: it is doubted once for each

	isSteady bool         // an INSERT draws from the same sequences each time
	steadyBy facts.Proven // as long as these facts hold; zero: nobody has asked
}

// rules are what the statements of a store have in common: by what they are judged, and their mutex.
type rules struct {
	Slow  time.Duration       // a statement that usually takes longer goes alone; not changed after the first use
	facts func() *facts.Facts // that statements are judged by; nil: of no connection yet

	mu   sync.Mutex
	full bool // there are more texts than the store has room for
}

// newStatement returns the statement of a new text. If that differs from same's in comments only, it begins with what is known of same.
func newStatement(t Text, c *rules, same *Statement) *Statement {
	s := &Statement{Text: t, rules: c}
	if !t.IsRead {
		s.alone = AloneText
	}
	if same != nil {
		s.alone, s.pace = same.alone, same.pace
		s.desc.Store(same.desc.Load())
	}
	return s
}

// judgeLocked is what f says of s now.
func (s *Statement) judgeLocked(f *facts.Facts) *facts.Proof {
	if f == nil || s.Mentions == nil {
		return &unjudged
	}
	if !s.proof.Known || !s.proof.Told || !s.proof.By.Holds(f) {
		var types []uint32
		if d := s.desc.Load(); d != nil {
			types = d.user
		}
		s.proof = f.Prove(s.Mentions, s.Functions, types)
	}
	return &s.proof
}

// unjudged is the proof of a statement of which nothing is known.
var unjudged = facts.Proof{Trace: sqltext.AnyTrace}

// Why returns why the statement that p proves has to go alone: "" if it may ride.
func Why(p *facts.Proof) string {
	switch {
	case !p.Known:
		return AloneNew
	case p.Why != "" || !p.Rides:
		return AloneCalls
	}
	return ""
}

// Shareable returns what s's arguments have to be encoded for, what says that it may ride, and how long it is
// expected to take, or why it goes alone.
func (s *Statement) Shareable() (d *Description, by facts.Proven, expect time.Duration, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.alone != "" {
		return nil, by, 0, s.alone
	}
	p := s.judgeLocked(s.facts())
	d = s.desc.Load()
	switch why = Why(p); {
	case why != "":
	case d == nil:
		why = AloneNew
	case s.took > s.Slow:
		why = AloneSlow
	case s.size > Large:
		why = AloneLarge
	default:
		return d, p.By, s.took, ""
	}
	return nil, by, 0, why
}

// IsHarmless reports whether s could ride, were it short.
func (s *Statement) IsHarmless() bool {
	_, _, _, why := s.Shareable()
	return why == "" || why == AloneSlow || why == AloneLarge
}

// Description is how s is described by now; nil: it is not.
func (s *Statement) Description() *Description { return s.desc.Load() }

// Wants reports whether s could ride if it was described.
func (s *Statement) Wants() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.wantsLocked()
}

func (s *Statement) wantsLocked() bool {
	d := s.desc.Load()
	if s.alone != "" || d != nil && s.proof.Known && !s.doubted {
		return false
	}
	p := s.judgeLocked(s.facts())
	return !p.Known || Why(p) == "" && (d == nil || s.doubted)
}

// Claim claims the one look that s gets to be described for lanes. When there are more texts than the store has room for, most
// of them may never come again, and a look costs more than a run: then it is for those that have.
func (s *Statement) Claim() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.looking || !s.wantsLocked() || !s.again && s.full {
		return false
	}
	s.looking = true
	return true
}

// Record ends what Claim began: with a description, with the reason why s goes alone, or with neither: it could not be described. That
// may be otherwise next time, up to a bound.
func (s *Statement) Record(d *Description, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looking, s.proof.Known = false, false // the types in d count too
	switch {
	case why != "":
		s.alone = why
	case d != nil:
		s.desc.Store(d)
		s.looks, s.doubted = 0, false
	default:
		if s.looks++; s.looks == maxLooks {
			s.alone = AloneCalls
		}
	}
}

// Redescribe has those who ride s from now on encode for d, unless somebody has given it another description since old. nil: it is
// to be described again.
func (s *Statement) Redescribe(old, d *Description) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.desc.CompareAndSwap(old, d) {
		s.proof.Known = false // the types in d count too
	}
}

// Doubt has s described again, once for what is known by now: an argument could not be encoded for d, so a parameter may
// have another type since.
func (s *Statement) Doubt(d *Description) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.desc.Load() == d && s.doubtedBy != s.proof.By {
		s.doubtedBy, s.doubted = s.proof.By, true
	}
}

// Wrote has s go alone from now on: the guard has stopped it from writing.
func (s *Statement) Wrote() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alone, s.wrote = AloneGuarded, true
	s.desc.Store(nil)
}

// Leaves says what a statement leaves in its session, as far as is known.
type Leaves struct {
	Trace sqltext.Trace
	Ask   bool // the server could be asked for more
	Tells bool // it may tell values of sequences
	Draws bool // it may change them
	Other bool // by code of the user's own
	Plans bool // functions may plan while what decides the meaning of a text is set
}

// Leaves says what s leaves in a session, by the facts of its connection; nil: it has none.
func (s *Statement) Leaves(by *facts.Facts) Leaves {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := Leaves{Trace: s.Trace, Tells: s.Sequences.Reads, Draws: s.Sequences.Draws, Plans: true}
	switch {
	case s.wrote, s.Asks && (by == nil || s.Mentions == nil):
		l.Trace = sqltext.AnyTrace
	case s.Asks:
		p := s.judgeLocked(by)
		l.Trace, l.Ask, l.Other, l.Plans = p.Trace, !p.Told, p.Why != "", p.Plans
		l.Tells, l.Draws = l.Tells || p.Tells, l.Draws || p.Draws
	}
	return l
}

// Observation is how a statement went: how long it took on the server and, unless it is negative, how big its result was.
type Observation struct {
	Statement *Statement
	Took      time.Duration
	Size      int
}

// Observe notes how statements went.
func (r *rules) Observe(seen []Observation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range seen {
		o.Statement.observe(o.Took, o.Size)
	}
}

// Took notes how long s took on the server. The size of its result is not known.
func (s *Statement) Took(d time.Duration) { s.Observe([]Observation{{s, d, -1}}) }

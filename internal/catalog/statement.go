package catalog

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// Statement is what is known about one SQL text. Its methods may be called by anybody.
type Statement struct {
	Text
	*rules

	// guarded by rules.mu
	again bool   // it was wanted more than once
	alone string // why it goes alone, for good; "": it may yet ride
	wrote bool   // the guard has stopped it: nobody knows what it does
	proof facts.Proof
	look
	pace
	steady
}

// look is how a statement is described, and how that is found out: see look.go.
type look struct {
	desc      atomic.Pointer[Description] // nil until it is needed; stored under rules.mu
	looking   bool                        // it is being described
	looks     int                         // that could not describe it
	doubted   bool                        // desc may be out of date, and is to be made anew
	doubtedBy facts.Proven                // what was known then: it is doubted once for each
}

// steady says whether an INSERT draws from the same sequences each time: see steady.go.
type steady struct {
	is bool
	by facts.Proven // as long as these facts hold; zero: nobody has asked
}

// rules are what the statements of a store have in common: by what they are judged, and their mutex.
type rules struct {
	slow  time.Duration
	facts func() *facts.Facts // that statements are judged by; nil: of no connection yet

	mu   sync.Mutex
	full bool // there are more texts than the store has room for
}

// newStatement returns the statement of a text that is new. If same is not nil, its text differs only in comments, and the new one begins with what is
// known of same.
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
		s.proof = f.Prove(s.Mentions, s.Functions, s.desc.Load().userTypes())
	}
	return &s.proof
}

// unjudged is the proof of a statement of which nothing is known.
var unjudged = facts.Proof{Trace: sqltext.AnyTrace}

// unprove has s judged again: its description has changed, and the types in it count too.
func (s *Statement) unprove() { s.proof.Known = false }

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
	case s.took > s.slow:
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
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.alone == "" && s.desc.Load() != nil && Why(s.judgeLocked(s.facts())) == ""
}

// isUnprovenLocked reports whether s is not judged yet.
func (s *Statement) isUnprovenLocked() bool {
	return s.Mentions != nil && (s.Asks && !s.wrote && !s.proof.Told || s.alone == "" && !s.proof.Known)
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
	case s.wrote:
		l.Trace = sqltext.AnyTrace
	case !s.Asks:
	case by == nil || s.Mentions == nil:
		l.Trace = sqltext.AnyTrace
	default:
		p := s.judgeLocked(by)
		l.Trace, l.Ask, l.Other, l.Plans = p.Trace, !p.Told, p.Why != "", p.Plans
		l.Tells, l.Draws = l.Tells || p.Tells, l.Draws || p.Draws
	}
	return l
}

// Wrote has s go alone from now on: the guard has stopped it from writing.
func (s *Statement) Wrote() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alone, s.wrote = AloneGuarded, true
	s.desc.Store(nil)
}

// refuse has s go alone from now on.
func (s *Statement) refuse(why string) { s.alone = why }

// Observation is how a statement went: how long it took on the server and, unless it is negative, how big
// its result was.
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
func (s *Statement) Took(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.observe(d, -1)
}

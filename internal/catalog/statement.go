package catalog

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/sqltext"
)

const (
	MaxText  = 16 << 10 // bytes of the longest text that a store keeps; callers check it
	maxLooks = 5        // a statement that so many looks in a row could not describe goes alone for good
)

// Text is what a statement's text says about it.
type Text struct {
	Key
	Functions []sqltext.Function // the functions that it names
	Mentions  *sqltext.Mentions  // nil: the text cannot be cut into tokens for certain, so it is never judged
	Sequences sqltext.Sequences  // what it does with the values of sequences
	Trace     sqltext.Trace      // what it leaves in its session
	Asks      bool               // it may leave more than Trace says: that depends on the functions that it leads to
	IsPlain   bool               // it is a query or a change of data
	Aside     bool               // it takes no snapshot, and reads no values of sequences
	Meaning   sqltext.Meaning    // what it does to the meaning of later texts
	Commits   bool               // it may commit before it ends
	IsRead    bool               // its text is that of a read that may ride
}

// textOf scans the text of k.
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

// Statement is what is known about one SQL text. Its methods may be called by several goroutines at once.
type Statement struct {
	Text
	of *Store

	// guarded by the store's mutex
	again bool   // it was wanted more than once
	alone string // why it goes alone, for good; "": it may still ride
	wrote bool   // the guard has stopped it from writing: what it does is not known
	proof facts.Proof
	pace

	desc      atomic.Pointer[Description] // nil until it is needed; stored under the mutex
	looking   bool                        // a look is asking for its description
	looks     int                         // see maxLooks
	doubted   bool                        // desc may be out of date, and is to be made anew
	doubtedBy facts.Proven                // the facts when it was last doubted: these facts allow one doubt

	expected atomic.Int64 // see Expected; stored under the mutex

	isSteady bool         // it is an INSERT that draws from the same sequences each time
	steadyBy facts.Proven // isSteady is right as long as these facts hold; zero: it was not asked yet
}

// newStatement returns the statement of a new text. same is the statement of the text without its comments, or nil: what is known of it is copied.
func newStatement(t Text, of *Store, same *Statement) *Statement {
	s := &Statement{Text: t, of: of}
	if !t.IsRead {
		s.alone = AloneText
	}
	if same != nil {
		s.alone, s.pace = same.alone, same.pace
		s.expected.Store(int64(s.took))
		s.desc.Store(same.desc.Load())
	}
	return s
}

// Claim reports whether the caller is to ask for the description of s; if so, the caller must call Record afterwards. Claim refuses if another look
// is asking or no description is needed. When the store is full, most texts may never come again, and a look costs more than a run: then Claim also
// refuses for a text that has come only once.
func (s *Statement) Claim() bool {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	if s.looking || !s.wantsLocked() || !s.again && s.of.full {
		return false
	}
	s.looking = true
	return true
}

// Record ends what Claim began. d is the description that was found, or why is the reason for which s goes alone for good. If both are missing, s
// could not be described.
func (s *Statement) Record(d *Description, why string) {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	s.looking, s.proof.Known = false, false // the proof has to take the types of d into account
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

// Redescribe replaces the description old of s by d, for which later rides are encoded. It does nothing if s does not have old any more. If d is nil,
// s has to be described again.
func (s *Statement) Redescribe(old, d *Description) {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	if s.desc.CompareAndSwap(old, d) {
		s.proof.Known = false // the proof has to take the types of d into account
	}
}

// Doubt has s described again, because an argument could not be encoded for d: a parameter may have another type since. It does that once for each
// generation of facts.
func (s *Statement) Doubt(d *Description) {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	if s.desc.Load() == d && s.doubtedBy != s.proof.By {
		s.doubtedBy, s.doubted = s.proof.By, true
	}
}

// Wrote notes that the guard has stopped s from writing. From now on s goes alone, and counts as one that may leave anything.
func (s *Statement) Wrote() {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	s.alone, s.wrote = AloneGuarded, true
	s.desc.Store(nil)
}

// Leaves is what a statement leaves in its session, as far as is known.
type Leaves struct {
	Trace sqltext.Trace
	Ask   bool // not all facts about the functions that it leads to are known; the server can be asked
	Tells bool // it may return values of sequences that were drawn before in the session
	Draws bool // it may draw from sequences, or set them
	Other bool // it may run code of the user's own
	Plans bool // functions may plan while a setting is changed on which the meaning of texts depends
}

// Leaves returns what s leaves in a session. by are the facts of its connection; nil: it has none.
func (s *Statement) Leaves(by *facts.Facts) Leaves {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
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

// Expected returns how long s will probably take on the server, by its runs so far; 0: that is not known.
func (s *Statement) Expected() time.Duration { return time.Duration(s.expected.Load()) }

// Observation is one run of a statement.
type Observation struct {
	Statement *Statement
	Took      time.Duration // on the server
	Size      int           // bytes of its result; negative: not known
}

// Observe notes how long runs of statements took, and how large their results were.
func (g *Store) Observe(seen []Observation) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, o := range seen {
		o.Statement.observe(o.Took, o.Size)
		o.Statement.expected.Store(int64(o.Statement.took))
	}
}

// Took notes how long s took on the server. The size of its result is not known.
func (s *Statement) Took(d time.Duration) { s.of.Observe([]Observation{{s, d, -1}}) }

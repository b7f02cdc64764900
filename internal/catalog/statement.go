package catalog

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/sqltext"
)

const (
	MaxText  = 16 << 10 // bounds the bytes of a text that a store keeps; callers check it
	maxLooks = 5        // a statement that could not be described so many times in a row goes alone for good
)

// Text has what the scanner has found in a statement's text.
type Text struct {
	Key
	Functions []sqltext.Function // the functions that it names
	Mentions  *sqltext.Mentions  // nil if the text cannot be cut into tokens for certain, so that it is never judged
	Sequences sqltext.Sequences  // what the statement does with the values of sequences
	Trace     sqltext.Trace      // what the statement leaves in its session
	Asks      bool               // the statement may leave more than Trace says, depending on the functions that it calls
	IsPlain   bool               // the statement is a query or a change of data
	Aside     bool               // the statement takes no snapshot, and reads no values of sequences
	Meaning   sqltext.Meaning    // what the statement changes in the meaning of later texts
	Commits   bool               // the statement may commit before it ends
	IsRead    bool               // the text is that of a read that may ride
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

	// These are guarded by the store's mutex.
	again bool   // the statement was wanted more than once
	alone string // the reason why the statement goes alone for good; "" if it may still ride
	wrote bool   // the guard has stopped the statement from writing, so it is not known what the statement does
	proof facts.Proof
	pace

	desc      atomic.Pointer[Description] // nil until it is needed; stored under the mutex
	looking   bool                        // somebody is asking the server for the description
	looks     int                         // counts such questions in a row that failed; see maxLooks
	doubted   bool                        // desc may be out of date, and the server has to be asked again
	doubtedBy facts.Proven                // the facts when desc was last doubted; Doubt works once for each generation of facts

	expected atomic.Int64 // see Expected; stored under the mutex

	isSteady bool         // the statement is an INSERT that draws from the same sequences each time
	steadyBy facts.Proven // the facts with which isSteady holds; zero if the server was not asked yet
}

// newStatement returns the statement of a new text. same is the statement of the text without its comments, whose knowledge is copied, or nil.
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

// Claim reports whether the caller should ask the server for the description of s. If so, the caller must call Record afterwards. Claim returns false if
// another caller is asking, or no description is needed. When the store is full, Claim also returns false for a text that has come only once: most such
// texts may never come again, and asking costs more than a run.
func (s *Statement) Claim() bool {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	if s.looking || !s.wantsLocked() || !s.again && s.of.full {
		return false
	}
	s.looking = true
	return true
}

// unclaim ends what Claim began without a result.
func (s *Statement) unclaim() {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	s.looking = false
}

// Record ends what Claim began. d is the description that was found, or why is the reason for which s goes alone for good, or s could not be described.
func (s *Statement) Record(d *Description, why string) {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	s.looking, s.proof.Known = false, false // the next proof takes the types of d into account
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

// Redescribe replaces the description old of s by d, for later rides, if s still has old. If d is nil, s has to be described again.
func (s *Statement) Redescribe(old, d *Description) {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	if s.desc.CompareAndSwap(old, d) {
		s.proof.Known = false // the next proof takes the types of d into account
	}
}

// Doubt makes s be described again, because an argument could not be encoded for d: a parameter may have another type by now. It does so only once for
// each generation of facts, since the argument itself may be wrong.
func (s *Statement) Doubt(d *Description) {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	if s.desc.Load() == d && s.doubtedBy != s.proof.By {
		s.doubtedBy, s.doubted = s.proof.By, true
	}
}

// Wrote notes that the guard has stopped s from writing. From now on s goes alone, and counts as a statement that may leave anything in its session.
func (s *Statement) Wrote() {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	s.alone, s.wrote = AloneGuarded, true
	s.desc.Store(nil)
}

// IsJudged reports whether all facts are known about what s mentions.
func (s *Statement) IsJudged() bool {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	return s.judgeLocked(s.of.facts()).Known
}

// Leaves is what a statement leaves in its session, as far as is known.
type Leaves struct {
	Trace sqltext.Trace
	Ask   bool // not all facts about the functions that the statement calls are known, and the server can be asked
	Tells bool // the statement may return values of sequences that were drawn before in the session
	Draws bool // the statement may draw from sequences, or set them
	Other bool // the statement may run the user's own code
	Self  bool // the statement's result may say which session it runs in
	Plans bool // functions may plan while a setting is changed on which the meaning of texts depends
}

// Leaves returns what s leaves in a session. by are the facts of the connection, or nil if it has none.
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
		l.Tells, l.Draws, l.Self = l.Tells || p.Tells, l.Draws || p.Draws, p.Self
	}
	return l
}

// NeedsSession reports whether s has to run in one session with the statements after it, by the newest facts. Statements that run the user's own code
// always have to, since they never ride, and what is known of that code may be old.
func (s *Statement) NeedsSession() bool {
	l := s.Leaves(s.of.facts())
	return !s.Asks || l.Trace > sqltext.NoTrace || l.Tells || l.Self || l.Other
}

// Expected returns how long s will probably take on the server, by its runs so far, or 0 if there was none.
func (s *Statement) Expected() time.Duration { return time.Duration(s.expected.Load()) }

// Observation is one run of a statement.
type Observation struct {
	Statement *Statement
	Took      time.Duration // the time on the server
	Size      int           // the bytes of the result; negative if they are not known
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

// pace has the moving averages of a statement's time on the server and of its results' bytes. The newest run counts for an eighth.
type pace struct {
	took  time.Duration
	known bool // says whether a run has set took
	size  int
}

func (p *pace) observe(took time.Duration, size int) {
	took = max(0, took)
	if !p.known { // the first run counts for half, because it may be slow by chance
		p.took, p.known = took/2, true
	} else {
		p.took += (took - p.took) / 8
	}
	switch {
	case size > memrows.MaxResult:
		p.size = size
	case size >= 0 && p.size <= memrows.MaxResult:
		p.size += (size - p.size) / 8
	}
}

// Subject is a connection on which statements are looked at. No caller uses it meanwhile, and its session is clean.
type Subject struct {
	facts.Asker
	Facts *facts.Facts        // nil if statements are not judged by the connection's facts
	Types func() *memrows.Set // returns the connection's Go types; nil if it has no lane
}

// Learn asks the server for facts about the names in s that are not known yet and, if s may ride, for the description of s. It takes 5 s at most. The
// caller should log an error: for a while nothing is asked then, and statements that are not known go alone.
func (g *Store) Learn(s *Statement, on *Subject) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) // for all that is asked about one statement
	defer cancel()
	if on.Facts == nil || s.Mentions == nil {
		return nil
	}
	if on.PG.ParameterStatus("standard_conforming_strings") != "on" || on.PG.ParameterStatus("client_encoding") != "UTF8" {
		return nil // the scanner and the server would disagree where a string ends
	}
	know := func(types []uint32) (bool, error) {
		return on.Facts.Know(ctx, on.Answers, s.Mentions, types, g.unproven)
	}
	if known, err := know(nil); !known {
		return err
	}
	if on.Types == nil || g.facts() != on.Facts || on.MustYield() || !s.Claim() {
		return nil
	}
	var d *Description
	why := ""
	defer func() { // deferred because the user's hooks may panic
		if on.HasYielded() {
			s.unclaim()
			return
		}
		s.Record(d, why)
	}()
	sd, err := on.Describe(ctx, s.SQL)
	if err != nil {
		return nil // a later look tries again
	}
	found := Describe(sd, on.Types())
	if why = found.Unfit(); why != "" {
		return nil
	}
	known, err := know(found.user)
	if known {
		d = found
	}
	return err
}

// IsSteady reports whether s draws from the same sequences each time, by the facts of its connection. If known is false, FindSteady can ask the server.
func (s *Statement) IsSteady(by *facts.Facts) (steady, known bool) {
	if s.Sequences.Table == "" {
		return true, true
	}
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	if by == nil || !s.steadyBy.Holds(by) { // the catalogs have changed
		return false, false
	}
	return s.isSteady, true
}

// steadyTable asks whether each default of a table that draws from a sequence is just a nextval of one sequence, without a condition.
const steadyTable = `select c.relkind operator(pg_catalog.=) any ('{r,p}') and not c.relhasrules
	and not exists(select from pg_catalog.pg_attrdef d where d.adrelid operator(pg_catalog.=) c.oid
		and pg_catalog.pg_get_expr(d.adbin, d.adrelid) operator(pg_catalog.~) '(nextval|setval)'
		and pg_catalog.pg_get_expr(d.adbin, d.adrelid) operator(pg_catalog.!~) '^nextval[(]''[^'']*''::regclass[)]$')
	and not exists(select from pg_catalog.pg_attribute a join pg_catalog.pg_type t on t.oid operator(pg_catalog.=) a.atttypid
		where a.attrelid operator(pg_catalog.=) c.oid and not a.attisdropped and t.typdefault operator(pg_catalog.~) '(nextval|setval)')
	from pg_catalog.pg_class c where c.oid operator(pg_catalog.=) pg_catalog.to_regclass($1)`

// FindSteady asks the server what IsSteady returns. The session of pc must be clean. If the server answers with an error, s counts as not steady.
func (s *Statement) FindSteady(ctx context.Context, pc *pgconn.PgConn, by *facts.Facts) {
	now := by.Now()
	r := pc.ExecParams(ctx, steadyTable, [][]byte{[]byte(s.Sequences.Table)}, nil, nil, nil).Read()
	is := r.Err == nil && len(r.Rows) == 1 && string(r.Rows[0][0]) == "t"
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	s.isSteady, s.steadyBy = is, now
}

package catalog

import (
	"container/list"
	"hash/maphash"
	"slices"

	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// storeSize is how many statements a store knows, storeBytes how long their texts are together; the least recently wanted
// leave. A statement takes about 1 KB beside its text.
const (
	storeSize  = 4096
	storeBytes = 4 << 20
)

// Store is what is known about statements, by their text.
type Store struct {
	rules
	bySQL map[Key]*list.Element // of *Statement
	used  list.List             // the most recently wanted first
	bytes int                   // how long their texts are together
	once  [1024]uint64          // hashes of texts with comments that were wanted once

	postponed []*Statement // what could not be looked at where it ran
}

// NewStore returns a Store without statements. What newest returns is what they are judged by.
func NewStore(newest func() *facts.Facts) *Store {
	return &Store{rules: rules{Slow: Slow, facts: newest}, bySQL: make(map[Key]*list.Element)}
}

// Find returns what is known about sql with these settings, looking at its text if it is new. A text with comments that comes for
// the first time is the one without: a comment may be another each time (a trace's id).
func (g *Store) Find(sql, settings string) *Statement {
	key := Key{sql, settings}
	g.mu.Lock()
	s := g.foundLocked(key)
	g.mu.Unlock()
	if s != nil {
		return s
	}
	var same *Statement // but for comments
	if plain := sqltext.WithoutComments(sql); plain != sql {
		if same = g.Find(plain, settings); !g.wantedBefore(sql) {
			return same
		}
	}
	t := textOf(key)

	g.mu.Lock()
	defer g.mu.Unlock()
	if s := g.foundLocked(key); s != nil { // somebody else was quicker
		return s
	}
	s = newStatement(t, &g.rules, same)
	g.bySQL[key] = g.used.PushFront(s)
	for g.bytes += len(sql); g.used.Len() > storeSize || g.bytes > storeBytes; {
		last := g.used.Remove(g.used.Back()).(*Statement)
		delete(g.bySQL, last.Key)
		g.bytes -= len(last.SQL)
	}
	g.full = g.used.Len() == storeSize || g.bytes > storeBytes-MaxText
	return s
}

// foundLocked returns the statement of key, which is wanted again; nil: there is none.
func (g *Store) foundLocked(key Key) *Statement {
	e, ok := g.bySQL[key]
	if !ok {
		return nil
	}
	g.used.MoveToFront(e)
	s := e.Value.(*Statement)
	s.again = true
	return s
}

var hashSeed = maphash.MakeSeed()

// wantedBefore reports whether sql was wanted before, not long ago, and notes that it was.
func (g *Store) wantedBefore(sql string) bool {
	h := maphash.String(hashSeed, sql)
	g.mu.Lock()
	defer g.mu.Unlock()
	at := &g.once[h%uint64(len(g.once))]
	before := *at == h
	*at = h
	return before
}

// unproven are the mentions of the statements that were wanted last and are not judged yet.
func (g *Store) unproven() (ms []*sqltext.Mentions) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for e, n := g.used.Front(), 0; e != nil && n < 64; e, n = e.Next(), n+1 {
		s := e.Value.(*Statement)
		if s.Mentions != nil && (s.Asks && !s.wrote && !s.proof.Told || s.alone == "" && !s.proof.Known) {
			ms = append(ms, s.Mentions)
		}
	}
	return ms
}

// maxPostponed is how many statements wait for a connection on which they can be looked at, atOnce how many one of them gets.
const (
	maxPostponed = 64
	atOnce       = 4
)

// Postpone keeps statements that could not be looked at where they ran, for the next connection that is new.
func (g *Store) Postpone(statements []*Statement) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range statements {
		if len(g.postponed) < maxPostponed && !slices.Contains(g.postponed, s) {
			g.postponed = append(g.postponed, s)
		}
	}
}

// TakePostponed returns some of them.
func (g *Store) TakePostponed() []*Statement {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := min(atOnce, len(g.postponed))
	taken := slices.Clone(g.postponed[:n])
	g.postponed = g.postponed[n:]
	return taken
}

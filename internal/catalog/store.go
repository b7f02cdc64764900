package catalog

import (
	"container/list"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// A store keeps at most storeSize statements, whose texts have at most storeBytes bytes together. The least recently wanted ones are forgotten. A
// statement takes about 1 KB besides its text.
const (
	storeSize  = 4096
	storeBytes = 4 << 20
)

// Slow bounds the average time on the server of a statement that rides, since the rides behind it wait that long.
const Slow = 10 * time.Millisecond

// Store keeps what is known about statements, by their text. Its methods may be called by several goroutines at once.
type Store struct {
	Slow  time.Duration       // a statement that usually takes longer goes alone; must not be changed after the first use
	facts func() *facts.Facts // returns the facts by which statements are judged, or nil if there was no connection yet

	mu    sync.Mutex            // guards what follows, and the statements
	bySQL map[Key]*list.Element // has the elements of used
	used  list.List             // of *Statement, the most recently wanted one first
	bytes int                   // the bytes of all texts together
	full  bool                  // there is no room for another text
	once  [1024]uint64          // hashes of texts with comments that were wanted once

	postponed []*Statement // statements that could not be looked at where they ran
}

// NewStore returns a Store without statements. newest returns the facts by which its statements will be judged.
func NewStore(newest func() *facts.Facts) *Store {
	return &Store{Slow: Slow, facts: newest, bySQL: make(map[Key]*list.Element)}
}

// Find returns the statement of sql with these settings, and scans the text if it is new. If a text with comments comes for the first time, Find returns
// the statement of the text without comments, because the comments may be new each time, for example with the id of a trace.
func (g *Store) Find(sql, settings string) *Statement {
	key := Key{sql, settings}
	g.mu.Lock()
	s := g.foundLocked(key)
	g.mu.Unlock()
	if s != nil {
		return s
	}
	var same *Statement // the statement of the text without comments
	if plain := sqltext.WithoutComments(sql); plain != sql {
		if same = g.Find(plain, settings); !g.wantedBefore(sql) {
			return same
		}
	}
	t := textOf(key)

	g.mu.Lock()
	defer g.mu.Unlock()
	if s := g.foundLocked(key); s != nil { // another goroutine was quicker
		return s
	}
	s = newStatement(t, g, same)
	g.bySQL[key] = g.used.PushFront(s)
	for g.bytes += len(sql); g.used.Len() > storeSize || g.bytes > storeBytes; {
		last := g.used.Remove(g.used.Back()).(*Statement)
		delete(g.bySQL, last.Key)
		g.bytes -= len(last.SQL)
	}
	g.full = g.used.Len() == storeSize || g.bytes > storeBytes-MaxText
	return s
}

// foundLocked returns the statement of key, and notes that it is wanted again. It returns nil if there is none.
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

// wantedBefore reports whether sql was wanted before, and notes that it is wanted now. It forgets a text when another one has the same place in once.
func (g *Store) wantedBefore(sql string) bool {
	h := maphash.String(hashSeed, sql)
	g.mu.Lock()
	defer g.mu.Unlock()
	at := &g.once[h%uint64(len(g.once))]
	before := *at == h
	*at = h
	return before
}

// unproven returns the Mentions of those of the 64 last wanted statements that are not judged yet.
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

// maxPostponed bounds the statements that wait for a connection on which the server can be asked about them. atOnce bounds how many one connection gets.
const (
	maxPostponed = 64
	atOnce       = 4
)

// Postpone keeps statements about which the server could not be asked where they ran, until a new connection takes them. It drops those beyond maxPostponed.
func (g *Store) Postpone(statements []*Statement) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range statements {
		if len(g.postponed) < maxPostponed && !slices.Contains(g.postponed, s) {
			g.postponed = append(g.postponed, s)
		}
	}
}

// TakePostponed removes and returns up to atOnce of the postponed statements.
func (g *Store) TakePostponed() []*Statement {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := min(atOnce, len(g.postponed))
	taken := slices.Clone(g.postponed[:n])
	g.postponed = g.postponed[n:]
	return taken
}

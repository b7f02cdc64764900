package catalog

import (
	"slices"

	"github.com/lmipool/lmipool/internal/sqltext"
)

// MaxText is how long a statement's text may be to be known.
const MaxText = 16 << 10

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

// Key is a text, and the names of the settings of pool.Pool.With that it runs with: a
// policy that asks for them has no plan without.
type Key struct{ SQL, Settings string }

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

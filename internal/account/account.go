// Package account adds up what one invocation asks of its pools: statements, waits, and which statement it repeats.
package account

import (
	"sync"
	"time"

	"github.com/lmipool/lmipool/internal/gostack"
	"github.com/lmipool/lmipool/internal/sqltext"
	"github.com/lmipool/lmipool/observe"
)

// Account is the account of one invocation. Its methods may be called by several goroutines at once, and allocate nothing, except Usage and the Often-th run of a text. The zero value is
// ready.
type Account struct {
	mu      sync.Mutex
	sum     observe.Usage // without its texts
	longest string        // the text of the longest statement
	texts   [mostTexts]text
}

// mostTexts is how many texts are counted at once. A text that is more than a seventh of all statements is certainly among them; with so few, an account
// stays small, and finding a text takes nanoseconds.
const mostTexts = 6

type text struct {
	sql string
	n   int           // how often it ran, at least
	at  *gostack.Site // who ran it for the Often-th time
}

// Often is how many runs of one text are worth a line in the log, with their place in the code: that many statements, one after the other, take longer than
// one statement that gets all rows, even if each of them is fast.
const Often = 50

// Waited adds the wait of one call for a connection.
func (a *Account) Waited(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sum.Waited += max(0, d)
}

// IdleInTx adds the time for which a transaction was open and ran nothing.
func (a *Account) IdleInTx(d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sum.IdleInTx += max(0, d)
}

// Ran adds a statement that took as long as took says. BEGIN, COMMIT and ROLLBACK count only with their time. sql is "" for a batch.
func (a *Account) Ran(op observe.Op, sql string, rode bool, rows int64, took time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sum.Ran += took
	switch op {
	case observe.Begin, observe.Commit, observe.Rollback:
		return
	case observe.Batch:
		sql = "batch"
	}
	a.sum.Statements++
	a.sum.Rows += rows
	if rode {
		a.sum.Rides++
	}
	if took >= a.sum.Longest {
		a.sum.Longest, a.longest = took, sql
	}
	a.count(sql)
}

// count counts sql by the rule of Misra and Gries: if all places are taken, each counted text loses one. So no count is too high, and the text that ran
// most often is among them, unless no text is frequent.
func (a *Account) count(sql string) {
	free := -1
	for i := range a.texts {
		switch t := &a.texts[i]; {
		case t.n > 0 && t.sql == sql:
			if t.n++; t.n == Often && t.at == nil {
				at := gostack.Here()
				t.at = &at
			}
			return
		case t.n == 0:
			free = i
		}
	}
	if free >= 0 {
		a.texts[free] = text{sql: sql, n: 1}
		return
	}
	for i := range a.texts {
		a.texts[i].n--
	}
}

// most returns the text that ran most often, and how often, at least.
func (a *Account) most() (most text) {
	for _, t := range a.texts {
		if t.n > most.n {
			most = t
		}
	}
	return most
}

// Busy returns how long the invocation has waited for connections, run statements and kept transactions open.
func (a *Account) Busy() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.sum.Waited + a.sum.Ran + a.sum.IdleInTx
}

// Repeated returns how often the text ran that ran most often, at least.
func (a *Account) Repeated() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.most().n
}

// RepeatedAt returns the place in the code that ran that text, if Repeated was Often or more once.
func (a *Account) RepeatedAt() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if at := a.most().at; at != nil {
		return at.Lines()
	}
	return nil
}

// mostBytes bounds the texts in a Usage.
const mostBytes = 200

// Usage returns the account so far.
func (a *Account) Usage() observe.Usage {
	a.mu.Lock()
	u, longest, most := a.sum, a.longest, a.most()
	a.mu.Unlock()
	u.LongestText = sqltext.Shown(longest, mostBytes)
	u.Repeated, u.RepeatText = most.n, sqltext.Shown(most.sql, mostBytes)
	return u
}

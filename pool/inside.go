package pool

import (
	"log/slog"
	"sync"

	"github.com/lmipool/lmipool/internal/gostack"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// maxSites is how many places are told apart, and therefore how many lines are logged.
const maxSites = 100

// sites remembers places in the code, to log each once.
type sites struct {
	mu   sync.Mutex
	seen map[gostack.Site]bool
}

// first reports whether s is a new one.
func (i *sites) first(s *gostack.Site) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.seen[*s] || len(i.seen) == maxSites {
		return false
	}
	if i.seen == nil {
		i.seen = make(map[gostack.Site]bool)
	}
	i.seen[*s] = true
	return true
}

// reportInside logs that l was asked for with the ctx of an InTx's function, once for each
// place in the code. Mostly tx was meant: what l does is no part of the transaction
// (the lost update), and waits for a connection while one is held (the deadlock). It
// may be on purpose, so it is no error.
func (p *Pool) reportInside(l *Lease, in *callback) {
	held := p.heldBy(in)
	if held == nil {
		return
	}
	var s gostack.Site
	s.Capture(2, gostack.Deep)
	if !p.inside.first(&s) {
		return
	}
	p.log.Warn("lmipool: the pool was used with the ctx of a transaction's function; this runs outside the transaction, on a second connection",
		slog.String("request_id", l.scope.id()), slog.String("doing", sqltext.Cut(l.sql, 200)),
		slog.Any("used_at", s.Lines()), slog.Any("begun_at", held.stack.Lines()))
}

// heldBy returns the lease of p that the innermost callback around ctx holds, or nil.
func (p *Pool) heldBy(c *callback) *Lease {
	for ; c != nil; c = c.outer {
		if c.within.Holds == nil || c.starting {
			continue
		}
		if l := c.within.Holds.Owner.(*Lease); l.p == p && l.active() {
			return l
		}
	}
	return nil
}

package pool

import (
	"fmt"
	"io"
	"time"
)

// Whoever shows one of these with fmt, with whatever verb, gets a line: what is inside
// changes meanwhile, which would be a data race, and may be secrets.

// String describes p in one line.
func (p *Pool) String() string {
	s := p.Stat()
	return fmt.Sprintf("lmipool.Pool(max %d, total %d, acquired %d, idle %d)", s.MaxConns(), s.TotalConns(), s.AcquiredConns(), s.IdleConns())
}

// Format writes what String returns, whatever the verb.
func (p *Pool) Format(f fmt.State, _ rune) { write(f, p.String()) }

// Format describes b in one line, whatever the verb: the names of its settings, not their values.
func (b Bound) Format(f fmt.State, _ rune) {
	switch {
	case b.err != nil:
		write(f, "lmipool.Bound(", b.err.Error(), ")")
	case b.s != nil:
		write(f, "lmipool.Bound(", b.s.Key(), ")")
	default: // the zero value, which With does not return
		write(f, "lmipool.Bound()")
	}
}

// Format describes l in one line, as a [Holder] does, whatever the verb.
func (l *Lease) Format(f fmt.State, _ rune) {
	if l.c == nil { // it is plain
		write(f, "lmipool.Lease()")
		return
	}
	write(f, "lmipool.Lease(", l.holder(time.Now()).String(), ")")
}

// Format writes the name of s, whatever the verb.
func (s *Scope) Format(f fmt.State, _ rune) {
	if s == nil {
		write(f, "lmipool.Scope(none)")
		return
	}
	write(f, "lmipool.Scope(", s.name, ")")
}

// Of these there is nothing to tell but results, which may be secrets as well.
func (*rows) Format(f fmt.State, _ rune)  { write(f, "lmipool.Rows()") }
func (*batch) Format(f fmt.State, _ rune) { write(f, "lmipool.BatchResults()") }
func (*tx) Format(f fmt.State, _ rune)    { write(f, "lmipool.Tx()") }

func write(f fmt.State, s ...string) {
	for _, s := range s {
		_, _ = io.WriteString(f, s)
	}
}

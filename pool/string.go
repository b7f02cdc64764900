package pool

import (
	"fmt"
	"io"
	"time"
)

// The Format methods below write one line for every verb. Without them fmt would read fields that others write (a data race), and show secrets.

// String describes p in one line.
func (p *Pool) String() string {
	if p == nil || p.engine == nil {
		return "lmipool.Pool(nil)"
	}
	s := p.Stat()
	return fmt.Sprintf("lmipool.Pool(max %d, total %d, acquired %d, idle %d)", s.MaxConns(), s.TotalConns(), s.AcquiredConns(), s.IdleConns())
}

// Format writes what String returns.
func (p *Pool) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, p.String()) }

// Format describes b by the names of its settings, without their values.
func (b Bound) Format(f fmt.State, _ rune) {
	inside := ""
	if b.err != nil {
		inside = b.err.Error()
	} else if b.s != nil { // nil in the zero value
		inside = b.s.Key()
	}
	write(f, "Bound", inside)
}

// Format writes what l's [Holder] shows.
func (l *Lease) Format(f fmt.State, _ rune) {
	inside := ""
	if l != nil && l.c != nil { // nil with Config.Plain
		inside = l.holder(time.Now()).String()
	}
	write(f, "Lease", inside)
}

// Format writes the name of s.
func (s *Scope) Format(f fmt.State, _ rune) {
	inside := "none"
	if s != nil {
		inside = s.name
	}
	write(f, "Scope", inside)
}

// Rows and BatchResults show nothing of their results, which may be secrets.
func (*rows) Format(f fmt.State, _ rune)  { write(f, "Rows", "") }
func (*batch) Format(f fmt.State, _ rune) { write(f, "BatchResults", "") }
func (*tx) Format(f fmt.State, _ rune)    { write(f, "Tx", "") }

func write(f fmt.State, kind, inside string) {
	_, _ = io.WriteString(f, "lmipool."+kind+"("+inside+")")
}

package pool

import "fmt"

// String describes p in one line. Without it a pool in a log line would show its
// insides, read while they change.
func (p *Pool) String() string {
	s := p.Stat()
	return fmt.Sprintf("lmipool.Pool(max %d, total %d, acquired %d, idle %d)", s.MaxConns(), s.TotalConns(), s.AcquiredConns(), s.IdleConns())
}

// GoString is String.
func (p *Pool) GoString() string { return p.String() }

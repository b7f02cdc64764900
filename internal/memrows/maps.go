package memrows

import (
	"sync"

	"github.com/jackc/pgx/v5"
)

// Maps has the Set of a connection, made when it is first needed. It is safe for concurrent use.
type Maps struct {
	Closed func() *pgx.Conn // makes a closed connection, for who asks rows in memory for theirs

	mu   sync.Mutex
	set  *Set
	lent bool // somebody has the raw connection, and may register types at any time
}

// Of returns what c's types are now. The connection's owner calls it.
func (m *Maps) Of(c *pgx.Conn) *Set {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.set == nil || m.lent {
		m.set = newSet(c.TypeMap(), m.Closed)
	}
	return m.set
}

// Lend says that the user has the raw connection from now on.
func (m *Maps) Lend() { m.forget(true) }

// Forget says that code of the user's has had the connection.
func (m *Maps) Forget() { m.forget(false) }

func (m *Maps) forget(lent bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.set, m.lent = nil, lent
}

// Package companion bounds the connections of a pgxpool that shares a pool's ceiling. pgxpool cannot do that: it does not count a connection that was
// taken out of it by Hijack, and it forgets a connection whose server process may still run. So each connection is counted at its socket: from its dial
// until the server has closed its end.
package companion

import (
	"context"
	"net"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/pgdial"
)

// Places are what connections need under the ceiling. *sched.Scheduler has these methods.
type Places interface {
	TakePlace(ctx context.Context) error // waits for a place
	LeavePlace()                         // is called when a connection begins to close
	FreePlace()                          // is called when the server has closed it
}

// Gate is what all connections of a companion are dialed through.
type Gate struct {
	Places Places
	Go     func(what string, f func()) // runs f in a goroutine for which the pool's Close waits

	mu   sync.Mutex
	open map[*socket]struct{} // those that are not being closed
}

// Through returns dial for one connection of pgx: a connection that it opens has a place, and its Close does not wait for the server. pgx opens a cancel
// connection with the same function. It needs no place, since the server has no session for it.
func (g *Gate) Through(dial pgconn.DialFunc) pgconn.DialFunc {
	var last atomic.Pointer[socket] // pgx has closed it before it dials another host
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if c := last.Load(); c != nil && (c.pc.Load() != nil || !c.isClosed()) {
			return dial(ctx, network, addr)
		}
		if err := g.Places.TakePlace(ctx); err != nil {
			return nil, err
		}
		c := &socket{gate: g}
		defer func() {
			if c.Conn == nil { // there was an error, or the user's DialFunc has panicked
				g.Places.LeavePlace()
				g.Places.FreePlace()
			}
		}()
		nc, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		c.Conn = nc
		last.Store(c)
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.open == nil {
			g.open = make(map[*socket]struct{})
		}
		g.open[c] = struct{}{}
		return c, nil
	}
}

// Opened notes that pc, which was dialed through a Gate, has logged in. From then on pgx uses its DialFunc for cancel connections only.
func Opened(pc *pgconn.PgConn) {
	if c, ok := pgdial.Raw(pc.Conn()).(*socket); ok {
		c.pc.Store(pc)
	}
}

// Cut closes all open connections beside their users, cancels what they run, and returns their number.
func (g *Gate) Cut() (n int) {
	g.mu.Lock()
	var open []*socket
	for c := range g.open {
		open = append(open, c)
	}
	g.mu.Unlock()
	for _, c := range open {
		if c.close(0) {
			n++
		}
	}
	return n
}

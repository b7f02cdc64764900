package netfault

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
)

// Cut closes all connections in the orderly way (FIN), as a server does that shuts down. Bytes that were under way are
// lost. New connections are served.
func (p *Proxy) Cut() { p.endLinks((*link).close) }

// Reset ends all connections with a RST, as a machine does that has restarted and no longer knows them.
func (p *Proxy) Reset() { p.endLinks((*link).reset) }

// Forget loses everything that is sent on the connections that exist, from now on and for good, as a firewall or a NAT
// gateway does that has dropped idle connections from its table. Neither side is told. New connections are served.
func (p *Proxy) Forget() { p.endLinks((*link).forget) }

func (p *Proxy) endLinks(end func(*link)) {
	p.mu.Lock()
	links := slices.Collect(maps.Keys(p.links))
	p.mu.Unlock()
	for _, l := range links {
		end(l)
	}
}

// Stall stops forwarding, as a network does that loses everything: connections stay open, new ones are accepted, and
// nothing that is sent from now on arrives. When the stall is over, everything that was held back arrives, in order.
func (p *Proxy) Stall(on bool) { p.gate.set(!on) }

// Refuse makes new connections fail (connection refused); those that exist go on. Refuse(false) needs the proxy's port
// again, and fails if another program has got the port meanwhile. Refuse(true) returns no error.
func (p *Proxy) Refuse(on bool) error {
	p.mu.Lock()
	l := p.listen
	if on {
		p.listen = nil
	}
	p.mu.Unlock()
	switch {
	case on && l != nil:
		l.Close()
	case !on && l == nil:
		l, err := net.Listen("tcp", p.addr)
		if err != nil {
			return fmt.Errorf("netfault: listen again: %w", err)
		}
		p.acceptFrom(l)
	}
	return nil
}

// gate lets bytes out of the proxy while it is open. Stall shuts it.
type gate struct {
	mu   sync.Mutex
	open chan struct{} // closed while the gate is open
}

func newGate() *gate {
	g := &gate{open: make(chan struct{})}
	close(g.open)
	return g
}

func (g *gate) set(open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.open:
		if !open {
			g.open = make(chan struct{})
		}
	default:
		if open {
			close(g.open)
		}
	}
}

// pass returns a channel that is closed when the gate is open.
func (g *gate) pass() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open
}

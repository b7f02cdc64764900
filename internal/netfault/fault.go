package netfault

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
)

// Cut closes all connections in the orderly way (FIN), as a server does that shuts down. What was under way is lost. New
// connections are served.
func (p *Proxy) Cut() { p.endLinks((*link).close) }

// Reset ends all connections with a RST, as a machine does that was restarted and knows nothing of them.
func (p *Proxy) Reset() { p.endLinks((*link).reset) }

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

// Refuse makes new connections fail (connection refused); those that exist go on. Taking it back needs the proxy's port
// again, which another program may have been given meanwhile: hence the error, which refusing itself never returns.
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

// gate is what every byte passes on its way out; Stall shuts it.
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

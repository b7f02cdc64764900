package netfault

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Proxy forwards TCP connections to one target. Its methods are safe for concurrent use.
type Proxy struct {
	target atomic.Pointer[string]
	addr   string
	delay  *delay
	gate   *gate

	accepted atomic.Int64
	ctx      context.Context // ends with the proxy
	cancel   context.CancelFunc
	running  sync.WaitGroup // every goroutine of the proxy

	mu     sync.Mutex
	listen net.Listener // nil while refusing
	links  map[*link]struct{}
}

// Listen starts a proxy for target, a host:port, on a free loopback port. Without faults it only forwards.
func Listen(target string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("netfault: %w", err)
	}
	p := &Proxy{
		addr:  l.Addr().String(),
		delay: newDelay(),
		gate:  newGate(),
		links: make(map[*link]struct{}),
	}
	p.Retarget(target)
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.running.Go(func() { p.delay.run(p.ctx) })
	p.acceptFrom(l)
	return p, nil
}

// Addr returns the proxy's host:port. It stays the same for the proxy's life.
func (p *Proxy) Addr() string { return p.addr }

// Retarget makes the proxy forward new connections to target. Existing connections keep their target.
func (p *Proxy) Retarget(target string) { p.target.Store(&target) }

// SetRoundTrip adds d to every round trip from now on, half of it each way. It does not limit the rate: bytes that are
// sent together arrive together. Bytes under way keep their order, and their delay unless the new one ends earlier.
func (p *Proxy) SetRoundTrip(d time.Duration) { p.delay.set(d / 2) }

// Conns returns the number of connections that are being forwarded now.
func (p *Proxy) Conns() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

// Accepted returns the number of connections accepted so far, also those that could not be forwarded.
func (p *Proxy) Accepted() int64 { return p.accepted.Load() }

// Close closes the proxy and its connections, and returns when all its goroutines have ended. Calling it again is fine.
func (p *Proxy) Close() {
	p.cancel()
	_ = p.Refuse(true)
	p.endLinks((*link).close)
	p.running.Wait()
}

// acceptFrom makes l the proxy's listener, unless the proxy is closed.
func (p *Proxy) acceptFrom(l net.Listener) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil {
		l.Close()
		return
	}
	p.listen = l
	// Under the lock, so that it cannot come after Close has begun to wait.
	p.running.Go(func() {
		for {
			client, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil { // an error is about one connection only, or there are too many open files
				p.accepted.Add(1)
				p.running.Go(func() { p.serve(client) })
			}
		}
	})
}

// serve forwards one connection until it ends.
func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	server, err := new(net.Dialer).DialContext(p.ctx, "tcp", *p.target.Load())
	if err != nil {
		return
	}
	defer server.Close()
	l := newLink(client, server)
	if !p.add(l) {
		return
	}
	defer p.remove(l)
	l.run(p.delay, p.gate)
}

func (p *Proxy) add(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil {
		return false // Close has ended the links it saw, and did not see this one
	}
	p.links[l] = struct{}{}
	return true
}

func (p *Proxy) remove(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

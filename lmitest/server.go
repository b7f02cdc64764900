package lmitest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"time"
)

// serverGrace bounds the wait for an environment's connections, which end by themselves when its process has ended.
const serverGrace = 2 * time.Second

// server is an environment's Runtime API.
type server struct {
	http    *http.Server
	address string
	served  chan struct{}
}

func (e *environment) listen() (*server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the runtime: %w", err)
	}
	s := &server{
		http:    &http.Server{Handler: e.routes(), ReadHeaderTimeout: time.Minute},
		address: l.Addr().String(),
		served:  make(chan struct{}),
	}
	go func() {
		defer close(s.served)
		_ = s.http.Serve(l) // the error is always http.ErrServerClosed
	}()
	return s, nil
}

// close returns when no handler runs any more. It is called after the process has ended, and so after the end of all connections.
func (s *server) close() {
	ctx, cancel := context.WithTimeout(context.Background(), serverGrace)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close()
	}
	<-s.served
}

package lmipool

import (
	"context"
	"fmt"
	"net"

	"github.com/lmipool/lmipool/internal/snapshot"
	"github.com/lmipool/lmipool/observe"
)

// statusFeed serves the snapshots of one pool. Its zero value serves none.
type statusFeed struct {
	snapshot.Recorder
	listener net.Listener
}

// serve begins to serve p's snapshots at path. It does nothing if path is empty.
func (f *statusFeed) serve(path string, p *Pool) (err error) {
	if path == "" {
		return nil
	}
	f.listener, err = snapshot.Serve(path, func() snapshot.Snapshot { return f.Take(p.Pool, snapshot.NewAbout(p.Pool, p.env), p.HandlerStat()) })
	if err != nil {
		return fmt.Errorf("lmipool: %s is %q: want a path of at most 100 bytes at which a Unix socket can be made, or a directory: %w", statusSocket, path, err)
	}
	return nil
}

// ObserveShutdown ends f with its pool.
func (f *statusFeed) ObserveShutdown(context.Context, observe.Shutdown) {
	if f.listener != nil {
		_ = f.listener.Close()
	}
}

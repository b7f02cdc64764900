package pool

import (
	"context"
	"sync/atomic"
	"time"
)

// DetachTimeout is how long a detached ctx lives if nobody says otherwise.
const DetachTimeout = 30 * time.Second

// Detach returns a ctx for work that may outlive its invocation: it has ctx's
// values but the scope, does not end with ctx, and ends after timeout (0 means
// [DetachTimeout]) or with cancel, which must be called when the work is done.
// What is acquired under it is nobody's to take back: release it.
//
// While it lives it is counted in [Stat.DetachedCount] of the pool that opened the
// scope. On a kind of environment that freezes after its reply, detached work
// stands still until the next invocation.
func Detach(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if timeout <= 0 {
		timeout = DetachTimeout
	}
	var count *atomic.Int64
	if s := scopeOf(ctx); s != nil {
		count = s.detached
	}
	free := &scopeContext{Context: context.WithoutCancel(ctx)} // its scope is nil
	detached, cancel := context.WithTimeout(free, timeout)
	if count != nil {
		count.Add(1)
		context.AfterFunc(detached, func() { count.Add(-1) })
	}
	return detached, cancel
}

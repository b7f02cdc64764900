package pool

import (
	"context"
	"sync"
	"time"
)

// Close closes the pool and waits, without bound, until every connection has come back and is closed, as pgxpool's does. [Pool.Shutdown] has a bound.
func (p *Pool) Close() { _ = p.Shutdown(context.Background()) }

// Shutdown refuses every new use ([ErrClosed]), closes idle connections in parallel, and waits until those in use come back. If ctx ends first, it
// takes them back, cancels what they run, and returns a [*ShutdownError] that lists them. When it returns, all goroutines of the pool have ended. It
// is idempotent.
func (p *Pool) Shutdown(ctx context.Context) error {
	mustHave(ctx)
	return p.engine.shutdown(ctx)
}

func (p pooled) shutdown(ctx context.Context) error {
	closeAll(p.sched.Close())
	p.cancel() // dials under way, and housekeeping
	var late *ShutdownError
	select {
	case <-p.sched.Empty():
	case <-ctx.Done():
		late = p.takeBack(ctx.Err())
		<-p.sched.Empty() // bounded by closeTimeout, unless a hook ignores its ctx
	}
	p.wg.Wait()
	p.px.Close()
	if late != nil && len(late.Out) > 0 {
		return late
	}
	return nil
}

// takeBack ends every lease that was not given back, in parallel, and logs them after that: the process may have a few hundred milliseconds to live,
// and the write of Terminate to a connection whose user is stuck takes up to graceToAbort.
func (p *Pool) takeBack(err error) *ShutdownError {
	lookers.Add(1)
	defer lookers.Add(-1)
	now := time.Now()
	e := &ShutdownError{Err: err}
	out := p.holders()
	ended := make([]bool, len(out))
	var wg sync.WaitGroup
	for i, l := range out {
		wg.Go(func() { p.protect("shutdown", func() { ended[i] = l.end(leaseClosed) }) })
	}
	wg.Wait()
	for i, l := range out {
		if !ended[i] {
			continue
		}
		h := l.holder(now)
		e.Out = append(e.Out, h)
		p.log.Warn("lmipool: shutdown: a "+l.word()+" was still out; its connection was closed", h.attrs()...)
	}
	return e
}

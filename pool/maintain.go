package pool

import (
	"context"
	"sync"
	"time"

	"github.com/lmipool/lmipool/internal/safelog"
	"github.com/lmipool/lmipool/internal/sched"
)

// maintain is the pool's housekeeping goroutine, from New until Shutdown.
func (p *Pool) maintain() {
	tick := time.NewTicker(p.cfg.HealthCheckPeriod)
	defer tick.Stop()
	var idleTx <-chan time.Time
	if p.cfg.ReportIdleTxAfter > 0 {
		t := time.NewTicker(max(p.cfg.ReportIdleTxAfter/4, time.Millisecond))
		defer t.Stop()
		idleTx = t.C
	}
	var fleet <-chan time.Time
	if p.member != nil {
		t := time.NewTicker(fleetTick)
		defer t.Stop()
		fleet = t.C
	}
	for {
		select {
		case <-fleet:
			p.protect("housekeeping", p.tickFleet)
		case <-idleTx:
			p.protect("housekeeping", p.reportIdleTx)
		case <-p.ctx.Done():
			return
		case <-tick.C:
			p.protect("housekeeping", func() {
				p.topUp() // before closeSurplus: after it, topUp would open again what closeSurplus has closed
				p.closeSurplus()
				p.reportOpenResults()
			})
		}
	}
}

// closeSurplus closes idle connections that are too old. It also closes those that are idle for too long, down to MinConns and MinIdleConns.
func (p *Pool) closeSurplus() {
	now := time.Now()
	closeAll(p.sched.TakeIdle(func(place *sched.Conn, idle, open int) bool {
		c := place.Owner.(*conn)
		switch {
		case c.expired(now):
			p.stats.aged.Add(1)
			return true
		case p.cfg.MaxConnIdleTime > 0 && sched.Age(place.Since(), now) > p.cfg.MaxConnIdleTime &&
			open > int(p.cfg.MinConns) && idle > int(p.cfg.MinIdleConns):
			p.stats.unused.Add(1)
			return true
		}
		return false
	}))
}

// topUp opens connections up to MinConns and MinIdleConns. A pool that was never used stays without a connection: it never dials by itself.
func (p *Pool) topUp() {
	if s := p.sched.Stats(); s.Opened > 0 {
		p.sched.SetFloor(max(int(p.cfg.MinConns), s.Held+int(p.cfg.MinIdleConns)))
	}
}

// reportOpenResults logs Rows and BatchResults that were opened outside a scope and stay open, since no scope takes them back.
func (p *Pool) reportOpenResults() {
	if p.cfg.ReportRowsAfter < 0 {
		return
	}
	now := time.Now()
	p.eachLease(func(l *Lease) {
		if l.scope == nil && l.isLeftOpen(now, p.cfg.ReportRowsAfter) {
			h := l.holder(now)
			p.warnAt(&l.stack, now, "lmipool: Rows or BatchResults are still open; a connection is lost until they are closed", h.attrs()...)
		}
	})
}

// reportIdleTx logs the leases that hold a transaction and do nothing with it.
func (p *Pool) reportIdleTx() {
	now := time.Now()
	p.eachLease(func(l *Lease) {
		if idle := l.idleTx(now, p.cfg.ReportIdleTxAfter); idle > 0 {
			p.warnAt(&l.stack, now, "lmipool: a transaction is open and idle; its connection and its locks are kept from others",
				append([]any{safelog.Ms("idle", idle)}, l.holder(now).attrs()...)...)
		}
	})
}

// Close closes the pool and waits until every connection has come back and is closed, as pgxpool's Close does. [Pool.Shutdown] waits for a bounded time.
func (p *Pool) Close() { _ = p.Shutdown(context.Background()) }

// Shutdown refuses every new use ([ErrClosed]), closes idle connections in parallel, and waits until those in use come back. If ctx ends first, it
// takes them back, cancels what they run, and returns a [*ShutdownError] that lists them. After Shutdown all goroutines of the pool have ended, unless a
// hook has not returned 15 s after ctx's end. Then the error's Open is not 0, and the rest ends when the hook returns. Shutdown is idempotent.
func (p *Pool) Shutdown(ctx context.Context) error {
	mustHave(ctx)
	start := time.Now()
	err := p.on().shutdown(ctx)
	p.tellShutdown(ctx, start, err)
	return err
}

func (p pooled) shutdown(ctx context.Context) error {
	closeAll(p.sched.Close())
	p.cancel() // ends dials under way, and housekeeping
	p.dialer.companions.Close()
	over := make(chan struct{})
	go func() {
		defer close(over)
		<-p.sched.Empty()
		p.wg.Wait()
		p.px.Close()
	}()
	select {
	case <-over:
		return nil
	case <-ctx.Done():
	}
	late := p.takeBack(ctx.Err())
	if late.Companion = p.dialer.companions.Cut(); late.Companion > 0 {
		p.log.Warn("lmipool: shutdown: connections of the companion were still out; they were closed", "conns", late.Companion)
	}
	select {
	case <-over:
		if len(late.Out) == 0 && late.Companion == 0 {
			return nil
		}
	case <-time.After(closeTimeout): // a hook ignores its ctx
		late.Open = max(1, p.sched.Stats().Total)
	}
	return late
}

// takeBack ends every lease that was not given back, and logs them. It ends them in parallel, since the process may have a few hundred milliseconds to
// live, and the write of Terminate to a connection whose user is stuck takes up to graceToAbort.
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

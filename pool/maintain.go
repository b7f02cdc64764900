package pool

import (
	"log/slog"
	"time"

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
	for {
		select {
		case <-idleTx:
			p.protect("housekeeping", p.reportIdleTx)
		case <-p.ctx.Done():
			return
		case <-tick.C:
			p.protect("housekeeping", func() {
				p.topUp() // in this order: after closeSurplus it would open again what that has closed
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
		case p.cfg.MaxConnIdleTime > 0 && now.Sub(place.Since()) > p.cfg.MaxConnIdleTime &&
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

// reportOpenResults logs Rows and BatchResults that were opened outside a scope and stay open: no scope takes them back.
func (p *Pool) reportOpenResults() {
	if p.cfg.ReportRowsAfter < 0 {
		return
	}
	now := time.Now()
	p.eachLease(func(l *Lease) {
		if l.scope == nil && l.isLeftOpen(now, p.cfg.ReportRowsAfter) {
			h := l.holder(now)
			p.log.Warn("lmipool: Rows or BatchResults are still open; a connection is lost until they are closed",
				slog.Duration("held", h.Held), slog.String("doing", h.Doing), slog.Any("acquired_at", h.Stack))
		}
	})
}

// reportIdleTx logs the leases that hold a transaction and do nothing with it.
func (p *Pool) reportIdleTx() {
	now := time.Now()
	p.eachLease(func(l *Lease) {
		if idle := l.idleTx(now, p.cfg.ReportIdleTxAfter); idle > 0 {
			p.log.Warn("lmipool: a transaction is open and idle; its connection and its locks are kept from others",
				append([]any{slog.Duration("idle", idle)}, l.holder(now).attrs()...)...)
		}
	})
}

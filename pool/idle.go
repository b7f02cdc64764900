package pool

import (
	"log/slog"
	"time"
)

// rest is how a lease does nothing, as housekeeping sees it: it compares the number of
// calls with that of the last time, so that no call needs a clock.
type rest struct {
	calls    uint32    // the number last seen
	since    time.Time // when it was first seen, and no call was running
	reported bool      // as idle in a transaction
}

// idleFor is for how long at least l has had its connection and not used it; 0: it
// uses it, or did since the last time.
func (l *Lease) idleFor(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state != leaseActive || l.calling || l.rest.calls != l.calls || l.rest.since.IsZero() {
		l.rest = rest{calls: l.calls, since: now}
		return 0
	}
	return now.Sub(l.rest.since)
}

// reportIdleTx logs the leases that hold a transaction and do nothing with it.
func (p *Pool) reportIdleTx() {
	now := time.Now()
	for _, l := range p.out() {
		idle := l.idleFor(now)
		if idle < p.cfg.ReportIdleTxAfter {
			continue
		}
		l.mu.Lock()
		report := l.inTx && !l.raw && !l.rest.reported
		l.rest.reported = l.rest.reported || report
		l.mu.Unlock()
		if report {
			p.log.Warn("lmipool: a transaction is open and idle; its connection and its locks are kept from others",
				append([]any{slog.Duration("idle", idle)}, l.holder(now).attrs()...)...)
		}
	}
}

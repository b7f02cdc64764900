package pool

import (
	"log/slog"
	"time"
)

// reportIdleTx logs the leases that hold a transaction and do nothing with it.
func (p *Pool) reportIdleTx() {
	now := time.Now()
	for _, l := range p.out() {
		if idle := l.idleTx(now, p.cfg.ReportIdleTxAfter); idle > 0 {
			p.log.Warn("lmipool: a transaction is open and idle; its connection and its locks are kept from others",
				append([]any{slog.Duration("idle", idle)}, l.holder(now).attrs()...)...)
		}
	}
}

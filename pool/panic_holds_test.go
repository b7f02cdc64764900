package pool_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"

	"github.com/lmipool/lmipool/pool"
)

// Outside an invocation nobody takes back what a call holds that never returns.
func TestACallThatPanicsHoldsNothing(t *testing.T) {
	t.Parallel()
	ctx, m := bounded(t), &moody{}
	p := newPool(t, &pool.Config{MaxConns: 1, Tracer: m, Logger: (&logs{}).logger()})
	value := panicValuer{panics: true}
	for what, call := range map[string]func(){
		"Exec":     func() { _, _ = p.Exec(ctx, "select $1::int", value) },
		"QueryRow": func() { p.QueryRow(ctx, "select $1::int", value) },
		"Query":    func() { _, _ = p.Query(ctx, "select $1::int", value) },
		"SendBatch": func() {
			b := &pgx.Batch{}
			b.Queue("select $1::int", value)
			p.SendBatch(ctx, b)
		},
		"Begin, by its tracer": func() {
			m.start.Store(true)
			defer m.start.Store(false)
			_, _ = p.Begin(ctx)
		},
		"InTx, by its function": func() {
			_ = pool.InTx(ctx, p, pool.TxOptions{}, func(context.Context, pgx.Tx) error { panic("fn") })
		},
	} {
		assert.Panics(t, call, what)
		eventually(t, what, func() bool { return p.Stat().AcquiredConns() == 0 })
		assert.NoError(t, p.Ping(ctx), what)
	}
}

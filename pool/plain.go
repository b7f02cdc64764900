package pool

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/internal/lane"
	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/session"
)

// plain is the engine of Config.Plain: it hands each call to pgxpool. A Bound's statements run in explicit transactions.
type plain struct{ *Pool }

func (p plain) own(ctx context.Context) (*pgxpool.Conn, error) { return p.px.Acquire(ctx) }

func (p plain) exec(ctx context.Context, with *session.Settings, sql string, args []any) (pgconn.CommandTag, error) {
	if with != nil {
		return p.bound(with).execInTx(ctx, sql, args)
	}
	return p.px.Exec(ctx, sql, args...)
}

func (p plain) query(ctx context.Context, with *session.Settings, sql string, args []any) (pgx.Rows, error) {
	if with != nil {
		return p.bound(with).rowsInTx(ctx, sql, args)
	}
	return p.px.Query(ctx, sql, args...)
}

func (p plain) queryRow(ctx context.Context, with *session.Settings, sql string, args []any) pgx.Row {
	if with == nil {
		return p.px.QueryRow(ctx, sql, args...)
	}
	r, err := p.bound(with).rowsInTx(ctx, sql, args)
	if err != nil {
		return memrows.Failed(err)
	}
	return memrows.ReadRow(r, r.Conn(), &memrows.Maps{})
}

func (p plain) sendBatch(ctx context.Context, with *session.Settings, b *pgx.Batch) pgx.BatchResults {
	if with == nil {
		return p.px.SendBatch(ctx, b)
	}
	t, err := p.beginTx(ctx, with, pgx.TxOptions{})
	if err != nil {
		return p.failedBatch(b, err)
	}
	w := &txBatch{end: txEnd{ctx: ctx, t: t}}
	kept := false
	defer w.end.abandonUnless(&kept)
	w.BatchResults = t.SendBatch(ctx, b)
	kept = true
	return w
}

func (p plain) copyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	return p.px.CopyFrom(ctx, table, columns, src)
}

func (p plain) beginTx(ctx context.Context, with *session.Settings, opts pgx.TxOptions) (pgx.Tx, error) {
	t, err := p.px.BeginTx(ctx, opts)
	if err != nil || with == nil {
		return t, err
	}
	if err = setIn(ctx, t.Conn(), with.SQL, with.Params); err != nil {
		_ = rollBack(ctx, t)
		return nil, pgerr.Wrap[pgerr.SettingsError](fmt.Errorf("lmipool: With: %w", with.Without(err)))
	}
	return t, nil
}

func (p plain) ping(ctx context.Context) error { return p.px.Ping(ctx) }

// stat returns only the counters that pgxpool has.
func (p plain) stat() *Stat {
	s := p.px.Stat()
	return &Stat{numbers{
		AcquireCount: s.AcquireCount(), AcquireDuration: milliseconds(s.EmptyAcquireWaitTime()), AcquiredConns: s.AcquiredConns(),
		CanceledAcquireCount: s.CanceledAcquireCount(), EmptyAcquireCount: s.EmptyAcquireCount(), EmptyAcquireWaitTime: milliseconds(s.EmptyAcquireWaitTime()),
		ConstructingConns: s.ConstructingConns(), IdleConns: s.IdleConns(), TotalConns: s.TotalConns(), MaxConns: s.MaxConns(), Limit: s.MaxConns(),
		NewConnsCount: s.NewConnsCount(), MaxLifetimeDestroyCount: s.MaxLifetimeDestroyCount(), MaxIdleDestroyCount: s.MaxIdleDestroyCount(),
		Lanes: LaneStat{MaxFlightSize: lane.MaxFlight},
	}}
}

func (p plain) reset() { p.px.Reset() }

// shutdown waits for pgxpool's Close, which has no bound, until ctx ends.
func (p plain) shutdown(ctx context.Context) error {
	p.cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.px.Close()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return &ShutdownError{Open: int(p.px.Stat().TotalConns()), Err: ctx.Err()}
	}
}

// txBatch is a batch in a transaction of its own. Its Close ends the transaction.
type txBatch struct {
	pgx.BatchResults
	end txEnd
}

func (b *txBatch) Close() error { return b.end.end(b.BatchResults.Close()) }

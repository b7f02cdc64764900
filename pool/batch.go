package pool

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// sendBatch sends b on the lease. With own, closing the result releases the lease.
func (l *Lease) sendBatch(ctx context.Context, b *pgx.Batch, own bool) pgx.BatchResults {
	c, err := l.enter("batch")
	if err != nil {
		return errBatch{err: err}
	}
	defer l.leave()
	if l.c.mode == pgx.QueryExecModeExec { // then pgx writes a batch past its frontend, and past the wire
		err := l.c.wire.flush()
		if err == nil && l.with != nil {
			err = errPastWire
		}
		if err != nil {
			if own {
				defer l.Release()
			}
			return errBatch{err: err}
		}
	}
	l.noteBatch(ctx, b)
	w := &batch{l: l, own: own}
	w.BatchResults = c.SendBatch(ctx, w.watch(b))
	l.opened(w)
	return w
}

// watch returns a copy of q whose callbacks run only while the user closes the batch:
// pgx's Close runs those that are left, and reclaim's must not, long after the
// function that they belong to.
func (b *batch) watch(q *pgx.Batch) *pgx.Batch {
	c := *q
	c.QueuedQueries = slices.Clone(q.QueuedQueries)
	for i, qq := range c.QueuedQueries {
		if f := qq.Fn; f != nil {
			own := *qq
			own.Fn = func(br pgx.BatchResults) error {
				if b.abandoned {
					return errAbandoned
				}
				b.abandoned = true // if f panics
				err := f(br)
				b.abandoned = false
				return err
			}
			c.QueuedQueries[i] = &own
		}
	}
	return &c
}

// errPastWire is for a batch that settings cannot travel with. Only a BeforeConnect that
// changes the mode gets to see it.
var errPastWire = errors.New("lmipool: With: its connection has QueryExecModeExec, and the pool has not: set default_query_exec_mode")

var errAbandoned = errors.New("lmipool: the batch was not closed")

// batch is pgx's BatchResults on a lease.
type batch struct {
	pgx.BatchResults // the interface grows (Tx in pgx 5.12); what it grows is there
	l                *Lease
	own              bool
	err              error // of Close; a second Close returns it again
	done             bool
	tx               *tx
	abandoned        bool  // no callback may run any more
	scanErr          error // of a row; pgx's Close returns it too
}

func (b *batch) Exec() (pgconn.CommandTag, error) {
	if err := b.l.resume(); err != nil {
		return pgconn.CommandTag{}, &sentError{err}
	}
	defer b.l.leave()
	tag, err := b.BatchResults.Exec()
	return tag, b.l.c.judge(err)
}

func (b *batch) Query() (pgx.Rows, error) {
	if err := b.l.resume(); err != nil {
		err = &sentError{err}
		return errRows{err: err}, err
	}
	defer b.l.leave()
	r, err := b.BatchResults.Query()
	if err = b.l.c.judge(err); err != nil {
		return errRows{err: err}, err
	}
	return &rows{l: b.l, r: r}, nil
}

func (b *batch) QueryRow() pgx.Row {
	if err := b.l.resume(); err != nil {
		return &row{err: &sentError{err}}
	}
	defer b.l.leave()
	r, err := b.BatchResults.Query()
	w := readRow(r, err, b.l.c)
	w.batch = b
	return w
}

func (b *batch) Close() error {
	if b.done {
		return b.err
	}
	if err := b.l.resume(); err != nil {
		return &sentError{err}
	}
	defer func() {
		b.l.leave()
		// A transaction that the batch began (pgx 5.12, Batch.BeginTx) keeps
		// the connection until its own end.
		if b.own && (b.Tx() == nil || b.err != nil) {
			b.l.Release()
		}
	}()
	b.done = true
	if b.err = b.l.c.judge(b.BatchResults.Close()); b.err == nil {
		b.err = b.scanErr
	}
	b.l.closed(b)
	return b.err
}

// Tx returns the transaction that the batch began, or nil: pgx 5.12's method.
func (b *batch) Tx() pgx.Tx {
	if b.tx == nil {
		t, ok := b.BatchResults.(interface{ Tx() pgx.Tx })
		if !ok || t.Tx() == nil {
			return nil
		}
		b.tx = &tx{l: b.l, t: t.Tx(), own: b.own}
	}
	return b.tx
}

// closeResult is for reclaim, which has the connection to itself.
func (b *batch) closeResult() { b.abandoned = true; _ = b.BatchResults.Close() }

// errBatch is the result of a batch that never reached the server.
type errBatch struct{ err error }

func (b errBatch) Exec() (pgconn.CommandTag, error) { return pgconn.CommandTag{}, b.err }
func (b errBatch) Query() (pgx.Rows, error)         { return errRows{err: b.err}, b.err }
func (b errBatch) QueryRow() pgx.Row                { return &row{err: b.err} }
func (b errBatch) Close() error                     { return b.err }
func (b errBatch) Tx() pgx.Tx                       { return nil }

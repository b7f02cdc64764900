package pool

import (
	"context"
	"reflect"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/observe"
)

// sendBatch sends b and returns the open result. If own is true, the result's Close releases the lease. doing describes the batch in logs and errors.
func (l *Lease) sendBatch(ctx context.Context, x *tx, doing string, b *pgx.Batch, own bool) pgx.BatchResults {
	kept := !own
	defer l.releaseUnless(&kept)
	on, err := l.enterFor(ctx, x, doing)
	if err != nil {
		return l.p.failedBatch(b, err)
	}
	defer l.leave()
	r := l.runs(ctx, x, observe.Batch, "")
	r.queries = len(b.QueuedQueries)
	meant, named, err := l.use.BeforeBatch(ctx, b)
	if err != nil {
		err = l.c.wrapError(err)
		r.over(pgconn.CommandTag{}, err)
		return l.p.failedBatch(b, err)
	}
	if l.c.reach.Mode == pgx.QueryExecModeExec { // pgx writes the batch past its frontend, and so past the wire
		if own && l.with != nil { // BeforeConnect has chosen the mode, since With refuses a pool in this mode
			return l.p.failedBatch(b, errExecMode)
		}
		l.c.wire.Passed()
	}
	w := &batch{l: l, releasesLease: own, named: named, running: r}
	defer func() {
		if w.BatchResults == nil { // the user's code (a tracer, a Valuer) has panicked
			w.unname()
		}
	}()
	w.BatchResults = on.SendBatch(ctx, w.watch(meant))
	l.opened(w)
	kept = true
	return w
}

// watch returns a copy of q whose callbacks do not run after b is abandoned. Otherwise pgx's Close would run the rest of them in the pool's goroutine.
func (b *batch) watch(q *pgx.Batch) *pgx.Batch {
	c := *q
	c.QueuedQueries = slices.Clone(q.QueuedQueries)
	for i, qq := range c.QueuedQueries {
		if f := qq.Fn; f != nil {
			b.calls = true
			own := *qq
			own.Fn = func(br pgx.BatchResults) error {
				if b.abandoned {
					return errAbandoned
				}
				b.abandoned = true // stays true if f panics
				err := f(br)
				b.abandoned = false
				return err
			}
			c.QueuedQueries[i] = &own
		}
	}
	return &c
}

// failedBatch is the result of b, which was not sent because of err. If b was to begin a transaction (pgx 5.12, Batch.BeginTx) its Tx is closed.
func (p *Pool) failedBatch(b *pgx.Batch, err error) pgx.BatchResults {
	if began := reflect.ValueOf(b).Elem().FieldByName("txOptions"); began.IsValid() && !began.IsNil() {
		return memrows.FailedBatch(err, p.ended.ClosedTx())
	}
	return memrows.FailedBatch(err, nil)
}

var errAbandoned = pgerr.Say[pgerr.BatchError]("lmipool: the batch was not closed")

// batch is pgx's BatchResults on a lease.
type batch struct {
	pgx.BatchResults // has the methods that newer versions of pgx add to the interface
	l                *Lease
	releasesLease    bool
	err              error // Close's error, which a second Close returns again
	done             bool
	tx               *tx
	calls            bool     // some of the batch's queries have callbacks
	abandoned        bool     // no callback may run any more
	scanErr          error    // the error of a row's Scan, which Close returns, too, as pgx's does
	named            []string // the statements that are prepared for this batch only
	running          running  // tells when the batch is over
}

// wrapError is conn.wrapError. If the server has refused to write, it first reads the rest of a batch with its own lease, so that it can ask the server.
func (b *batch) wrapError(err error) error {
	if b.releasesLease && !b.calls && pgerr.ReadOnly(err) && b.l.c.p.writer.Concerns(b.l.c.pg.PgConn()) {
		_ = b.BatchResults.Close()
	}
	return b.l.c.wrapError(err)
}

func (b *batch) Exec() (pgconn.CommandTag, error) {
	if err := b.l.resume(); err != nil {
		return pgconn.CommandTag{}, pgerr.SentUnanswered(err)
	}
	defer b.l.leave()
	tag, err := b.BatchResults.Exec()
	b.l.p.writer.Wrote(tag)
	return tag, b.wrapError(err)
}

func (b *batch) Query() (pgx.Rows, error) {
	if err := b.l.resume(); err != nil {
		err = pgerr.SentUnanswered(err)
		return memrows.FailedRows(err), err
	}
	defer b.l.leave()
	r, err := b.BatchResults.Query()
	if err = b.wrapError(err); err != nil {
		return memrows.FailedRows(err), err
	}
	return ofBatch(b.l, r), nil
}

func (b *batch) QueryRow() pgx.Row {
	if err := b.l.resume(); err != nil {
		return memrows.Failed(pgerr.SentUnanswered(err))
	}
	defer b.l.leave()
	r, err := b.BatchResults.Query()
	w := b.l.readRow(r, err)
	w.SetErr(b.wrapError(w.Err()))
	w.OnScanError(&b.scanErr)
	return w
}

func (b *batch) Close() error {
	if b.done {
		return b.err
	}
	if err := b.l.resume(); err != nil {
		return pgerr.SentUnanswered(err)
	}
	defer func() {
		b.l.leave()
		// A transaction that the batch began (pgx 5.12, Batch.BeginTx) keeps the connection until its own end.
		if b.releasesLease && b.Tx() == nil {
			b.l.Release()
		}
	}()
	b.done = true
	err := b.BatchResults.Close()
	b.unname()
	if b.err = b.wrapError(err); b.err == nil {
		b.err = b.scanErr
	}
	b.l.closed(b)
	b.running.over(pgconn.CommandTag{}, b.err)
	return b.err
}

// Tx returns the transaction that the batch began, or nil. The method is new in pgx 5.12.
func (b *batch) Tx() pgx.Tx {
	if b.tx == nil {
		t, ok := b.BatchResults.(interface{ Tx() pgx.Tx })
		if !ok || t.Tx() == nil {
			return nil
		}
		b.tx = newTx(b.l, t.Tx(), b.releasesLease, nil)
	}
	return b.tx
}

// closeResult closes the batch for reclaim, when nobody else uses the connection.
func (b *batch) closeResult() {
	b.abandoned = true
	_ = b.BatchResults.Close()
	b.unname()
	b.running.over(pgconn.CommandTag{}, ErrInvocationEnded)
}

// unname deallocates the statements that are prepared for the batch only.
func (b *batch) unname() {
	if b.named == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), goodbyeTimeout)
	defer cancel()
	b.l.use.Unname(ctx, b.named)
	b.named = nil
}

package pool

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/pgxargs"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// Beginner begins transactions: a pool of lmipool, pgxpool or pgxmock, a lease, a *pgx.Conn; or savepoints: a pgx.Tx.
type Beginner interface {
	Begin(ctx context.Context) (pgx.Tx, error)
}

// TxOptions are pgx's, and whether fn may run again. The zero value is the server's default transaction, once.
type TxOptions struct {
	pgx.TxOptions

	// MaxRetries is how often fn may run again, in a new transaction, after a serialization failure (40001) or a deadlock (40P01), or if, before
	// COMMIT was sent, its server has become a standby or, once, its connection was lost: those say that nothing happened and that it may go well
	// next time. Set it if fn does nothing but talk to its transaction, or does it idempotently. Between two tries it waits, 5 ms doubling to 1 s,
	// half of it at random, but never beyond ctx's deadline. For a savepoint it means nothing: only the whole transaction can be tried again.
	// Defaults to 0.
	MaxRetries int
}

// InTx runs fn in a transaction, which it commits if fn returns nil, and rolls back if fn returns an error or panics; the panic goes on. db is
// anything that can begin one; with a pgx.Tx it is a savepoint, which takes no pgx.TxOptions.
//
// On a pool or lease of lmipool's, BEGIN travels with fn's first statement and saves a round trip, unless opts has a query of its own. The first
// statement must be prepared for that already, which it is from its second use of a connection on, or else the round trip that prepares it is shared.
// So is an error of BEGIN: it is the first statement's. now() is the time of the first statement. Conn has BEGIN sent at once, since it is not seen
// what is said by the raw connection; if that fails, it returns a closed one.
//
// fn uses tx and its own ctx. What it does with that ctx on the pool itself runs outside the transaction, does not see its writes, and needs a second
// connection while the first is held: the pool logs it, once for each place in the code, and if no connection can come free because all wait like
// this, the youngest who waits gets [ErrNestedAcquire]. If that is what you want (a log entry that stays, whatever happens), use the ctx that InTx
// was called with.
//
// The error is fn's own, or Commit's. If Commit's answer was lost, [OutcomeUnknown] is true for it, and fn does not run again; it is false for every
// error of fn's, since then nothing was committed. There is no Rollback after a Commit.
//
// ctx bounds Begin, Commit and the waits; fn's ctx ends with it. A transaction that has to be rolled back after ctx's end is rolled back all the
// same. Each call is for one goroutine; any number may run at once.
func InTx(ctx context.Context, db Beginner, opts TxOptions, fn func(ctx context.Context, tx pgx.Tx) error) error {
	begin, err := beginner(db, opts)
	switch {
	case err != nil:
		return err
	case fn == nil:
		return errNoFunc
	}
	lost := false
	for try := 0; ; try++ {
		again, err := inTx(ctx, begin, opts, fn)
		if !again || opts.MaxRetries == 0 || pgerr.IsLost(err) && lost { // fn may be what ends it
			return err
		}
		lost = lost || pgerr.IsLost(err)
		if try == opts.MaxRetries || !pause(ctx, try) {
			return fmt.Errorf("lmipool: the transaction failed %d times, the last time with: %w", try+1, err)
		}
	}
}

// beginner is how db begins what opts asks for.
func beginner(db Beginner, opts TxOptions) (func(context.Context) (pgx.Tx, error), error) {
	if p, own := db.(*Pool); db == nil || own && p == nil {
		return nil, errNoPool
	}
	if opts.MaxRetries < 0 {
		return nil, fmt.Errorf("lmipool: TxOptions.MaxRetries is %d: want 0 or more", opts.MaxRetries)
	}
	if opts.TxOptions == (pgx.TxOptions{}) {
		return db.Begin, nil
	}
	b, ok := db.(interface {
		BeginTx(ctx context.Context, opts pgx.TxOptions) (pgx.Tx, error)
	})
	if !ok {
		return nil, fmt.Errorf("lmipool: TxOptions.TxOptions is %+v: want the zero value for a savepoint, which is what a %T begins", opts.TxOptions, db)
	}
	return func(ctx context.Context) (pgx.Tx, error) { return b.BeginTx(ctx, opts.TxOptions) }, nil
}

// inTx is one try. again: it certainly has not happened, and may go well next time.
func inTx(ctx context.Context, begin func(context.Context) (pgx.Tx, error), opts TxOptions, fn func(context.Context, pgx.Tx) error) (again bool, err error) {
	c := &callbackContext{Context: ctx}
	c.begin(ctx)
	began, err := begin(c)
	c.begun()
	if err != nil { // a query of the user's may have committed something, and so below
		return pgerr.Transient(err) && opts.BeginQuery == "", err
	}
	tx, ok := began.(innerTx)
	if !ok {
		tx = &foreignTx{began, new(bool)}
	}
	committing, unsent := false, false
	defer func() { // also when fn panics, or ends its goroutine
		if committing {
			return
		}
		gone := tx.endedInSQL() || tx.mayHaveEnded()
		gone = errors.Is(rollBack(ctx, tx), pgx.ErrTxClosed) || gone
		if gone { // fn has ended the transaction itself, who knows how
			again, err = false, partlyDone(err)
			return
		}
		if tx.failedOver(err) {
			again = true // no COMMIT was sent
			if pgerr.ReadOnly(err) {
				err = pgerr.NotRun("the server writes no more, and this pool does", err)
			}
		}
		switch {
		case unsent:
			err = pgerr.Unsent("commit", err)
		case OutcomeUnknown(err):
			err = pgerr.RolledBack(err)
		}
	}()
	if err := fn(c, tx); err != nil {
		return pgerr.Transient(err), err
	}
	if err := ctx.Err(); err != nil { // a COMMIT could not be sent any more
		unsent = true
		return false, err
	}
	committing = true
	ended := tx.endedInSQL() || opts.CommitQuery != ""
	if err = tx.Commit(ctx); ended {
		err = partlyDone(err)
	}
	return (pgerr.Transient(err) || pgerr.DidNotRun(err) && pgerr.IsLost(err)) && !OutcomeUnknown(err) && !ended, err
}

// rollBack ends t. ctx may have ended: whatever pool t is of, its connection is to live.
func rollBack(ctx context.Context, t pgx.Tx) error {
	if _, own := t.(*tx); !own && ctx.Err() != nil { // ours does so by itself
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), goodbyeTimeout)
		defer cancel()
	}
	return t.Rollback(ctx)
}

// innerTx is what InTx gives to its function: a tx, or a foreignTx.
type innerTx interface {
	pgx.Tx
	endedInSQL() bool          // pgx knows nothing of it
	mayHaveEnded() bool        // by what was asked for last, whose answer was lost, or is not read to its end
	failedOver(err error) bool // it had to end with err because its server is gone, or has become a standby
}

// foreignTx is a transaction of somebody else's that InTx gives to its function: of pgxpool, of a pool with Config.Plain,
// of a mock. The answers to it are not heard, so of what may end the transaction ("commit and chain" leaves another behind)
// only the text is known: after that the function does not run again.
type foreignTx struct {
	pgx.Tx
	mayEnd *bool // something of it, or of a savepoint in it, may have ended it
}

// endedInSQL knows only whether there is a transaction now, and whether the texts may have ended another.
func (t *foreignTx) endedInSQL() bool {
	c := t.conn()
	return *t.mayEnd || c != nil && !c.IsClosed() && c.PgConn().TxStatus() == 'I'
}

func (*foreignTx) mayHaveEnded() bool    { return false }
func (*foreignTx) failedOver(error) bool { return false }

// conn is its connection; nil if it has none, as a mock's, which panics.
func (t *foreignTx) conn() (c *pgx.Conn) {
	defer func() {
		if recover() != nil {
			c = nil
		}
	}()
	return t.Tx.Conn()
}

func (t *foreignTx) runs(ctx context.Context, sql string, args []any) {
	text, ok := pgxargs.Text(ctx, sql, args)
	*t.mayEnd = *t.mayEnd || !ok || sqltext.MayEndTx(text)
}

func (t *foreignTx) Begin(ctx context.Context) (pgx.Tx, error) {
	inner, err := t.Tx.Begin(ctx)
	if err != nil {
		return inner, err
	}
	return &foreignTx{inner, t.mayEnd}, nil
}

func (t *foreignTx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	t.runs(ctx, sql, args)
	return t.Tx.Exec(ctx, sql, args...)
}

func (t *foreignTx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	t.runs(ctx, sql, args)
	return t.Tx.Query(ctx, sql, args...)
}

func (t *foreignTx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	t.runs(ctx, sql, args)
	return t.Tx.QueryRow(ctx, sql, args...)
}

func (t *foreignTx) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	if b == nil {
		return memrows.FailedBatch(errNoBatch, nil)
	}
	for _, q := range b.QueuedQueries {
		t.runs(ctx, q.SQL, q.Arguments)
	}
	return t.Tx.SendBatch(ctx, b)
}

func (t *foreignTx) Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error) {
	t.runs(ctx, sql, nil)
	return t.Tx.Prepare(ctx, name, sql)
}

// Conn gives the connection itself away, by which anything can be said.
func (t *foreignTx) Conn() *pgx.Conn {
	*t.mayEnd = true
	return t.Tx.Conn()
}

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

// Beginner begins transactions (a pool of lmipool, pgxpool or pgxmock, a lease, a *pgx.Conn) or savepoints (a pgx.Tx).
type Beginner interface {
	Begin(ctx context.Context) (pgx.Tx, error)
}

// TxOptions are pgx's TxOptions, and how often fn may run again. The zero value means the server's default transaction and one try.
type TxOptions struct {
	pgx.TxOptions

	// MaxRetries is how often fn may run again, in a new transaction. fn runs again after a serialization failure (40001) or a deadlock (40P01), or if
	// the server became a standby or the connection was lost (the latter once) before COMMIT was sent. In these cases nothing has happened, and the
	// next try may succeed. Set MaxRetries only if all that fn does outside the transaction may be done twice. InTx waits 5 ms before the second try,
	// and twice as long before each later one, up to 1 s, half of it at random, and never beyond ctx's deadline. MaxRetries has no effect on a
	// savepoint, since only the whole transaction can run again. Defaults to 0.
	MaxRetries int
}

// InTx runs fn in a transaction. It commits the transaction if fn returns nil, and rolls it back if fn returns an error or panics; the panic goes on.
// db is anything that begins transactions. If db is a pgx.Tx, fn runs in a savepoint, which takes no pgx.TxOptions.
//
// If db is lmipool's Pool or Lease, BEGIN is sent with fn's first statement, unless opts has a BeginQuery or CommitQuery. That saves a round trip,
// except the first time that a connection runs the statement. An error of BEGIN is the first statement's error, and now() is the time of the first
// statement. tx.Conn sends BEGIN at once, since the pool does not see what is sent on the raw connection; if BEGIN fails, it returns a closed one.
//
// fn uses tx and its own ctx. A statement that fn runs on the pool itself with that ctx runs outside the transaction, does not see the transaction's
// writes, and needs a second connection while the first is held. The pool logs this, once for each place in the code. If no connection can come free
// because all callers wait like this, the caller who began to wait last gets [ErrNestedAcquire]. To run something outside the transaction on purpose,
// such as a log entry that has to stay, use the ctx that InTx was called with.
//
// fn must not call tx.Commit or tx.Rollback, not even deferred: fn returns nil or an error instead. If fn ends the transaction all the same, what it
// has committed stays committed, and InTx returns an error for which errors.Is(err, [pgx.ErrTxClosed]) is true, unless fn returns its own.
//
// InTx returns fn's error, or Commit's. If Commit's answer was lost, [OutcomeUnknown] is true for the error, and fn does not run again. If fn returns
// an error, nothing was committed, and OutcomeUnknown is false. InTx calls no Rollback after a Commit.
//
// ctx bounds Begin, Commit and the waits between tries, and fn's ctx ends with ctx. A transaction is rolled back even after ctx has ended. InTx may be
// called from any number of goroutines, and runs fn in its caller's.
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
		if !again || opts.MaxRetries == 0 || pgerr.IsLost(err) && lost { // there is no try after a second loss: fn itself may end its connection
			return err
		}
		lost = lost || pgerr.IsLost(err)
		if try == opts.MaxRetries || !pause(ctx, try) {
			return pgerr.Wrap[pgerr.TxRetriesError](fmt.Errorf("lmipool: the transaction failed %d times, the last time with: %w", try+1, err))
		}
	}
}

var errEndedByFn = pgerr.Wrap[pgerr.TxEndedError](fmt.Errorf("lmipool: InTx: its function has called Commit or Rollback, which InTx does itself when the function returns nil or an error: %w", pgx.ErrTxClosed))

// beginner returns the function that begins a transaction or savepoint with opts on db, or an error if db cannot begin one with opts.
func beginner(db Beginner, opts TxOptions) (func(context.Context) (pgx.Tx, error), error) {
	if p, own := db.(*Pool); db == nil || own && p == nil {
		return nil, errNoPool
	}
	if opts.MaxRetries < 0 {
		return nil, pgerr.Say[pgerr.TxOptionsError](fmt.Sprintf("lmipool: TxOptions.MaxRetries is %d: want 0 or more", opts.MaxRetries))
	}
	if opts.TxOptions == (pgx.TxOptions{}) {
		return db.Begin, nil
	}
	b, ok := db.(interface {
		BeginTx(ctx context.Context, opts pgx.TxOptions) (pgx.Tx, error)
	})
	if !ok {
		return nil, pgerr.Say[pgerr.TxOptionsError](fmt.Sprintf("lmipool: TxOptions.TxOptions is %+v: want the zero value for a savepoint, which is what a %T begins", opts.TxOptions, db))
	}
	return func(ctx context.Context) (pgx.Tx, error) { return b.BeginTx(ctx, opts.TxOptions) }, nil
}

// inTx makes one try. again means that the transaction has certainly had no effect, and that the next try may succeed.
func inTx(ctx context.Context, begin func(context.Context) (pgx.Tx, error), opts TxOptions, fn func(context.Context, pgx.Tx) error) (again bool, err error) {
	c := &callback{}
	c.begin(ctx)
	began, err := begin(c)
	c.begun()
	if err != nil { // a BeginQuery may have committed something
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
		if gone { // fn has, or may have, ended the transaction itself, perhaps by a COMMIT
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
	if err = tx.Commit(ctx); errors.Is(err, pgx.ErrTxClosed) {
		err = errEndedByFn
	} else if ended {
		err = partlyDone(err)
	}
	return (pgerr.Transient(err) || pgerr.DidNotRun(err) && pgerr.IsLost(err)) && !OutcomeUnknown(err) && !ended, err
}

// rollBack rolls t back, even if ctx has ended. With a ctx that has ended, pgx would close the connection.
func rollBack(ctx context.Context, t pgx.Tx) error {
	if _, own := t.(*tx); !own && ctx.Err() != nil { // our own Rollback does the same
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), goodbyeTimeout)
		defer cancel()
	}
	return t.Rollback(ctx)
}

// innerTx is what InTx gives to its function: a tx, or a foreignTx.
type innerTx interface {
	pgx.Tx
	endedInSQL() bool          // reports whether a COMMIT or ROLLBACK in SQL has ended the transaction, which pgx does not notice
	mayHaveEnded() bool        // reports whether the last statement can have ended the transaction, and its answer was lost or not read to the end
	failedOver(err error) bool // reports whether err means that the connection was lost, or that the server has become a standby
}

// foreignTx is a transaction that is not on a lease. With Config.Plain it is pgxpool's; in tests it can be a mock's. The pool sees only the texts of the
// transaction's statements, not the answers. So fn does not run again after a statement that may end the transaction ("commit and chain").
type foreignTx struct {
	pgx.Tx
	mayEnd *bool // a statement of the transaction, or of a savepoint in it, may have ended the transaction
}

// endedInSQL reports whether no transaction is open any more, or a statement may have ended this transaction and begun another.
func (t *foreignTx) endedInSQL() bool {
	c := t.conn()
	return *t.mayEnd || c != nil && !c.IsClosed() && c.PgConn().TxStatus() == 'I'
}

func (*foreignTx) mayHaveEnded() bool    { return false }
func (*foreignTx) failedOver(error) bool { return false }

// conn returns t's connection, or nil if Conn panics, as a mock's does.
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

// Conn returns the raw connection. The pool does not see what is sent on it, so the transaction may have ended after that.
func (t *foreignTx) Conn() *pgx.Conn {
	*t.mayEnd = true
	return t.Tx.Conn()
}

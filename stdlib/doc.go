// Package stdlib gives a pool to code that wants a *sql.DB: migrations, ORMs, sqlx. No second pool is needed beside lmipool's.
//
//	db, err := lmipool.Open(ctx, "", nil)
//	if err != nil {
//		return err
//	}
//	sqlDB := stdlib.OpenDB(db) // its statements run on db's connections
//
// # What holds a connection
//
// A connection of database/sql is virtual here: it has no connection of the pool until it needs one. A statement that needs no session runs on the
// pool, so that a short read can ride. A statement needs a session if it may leave something there, such as a setting, a lock, a temporary table or the
// value of a sequence, if its result says which session it ran in, if it runs code of the user's own, or if the pool does not know it yet. For such a
// statement, a transaction and [Conn.Lease] the virtual connection acquires a lease, on which everything runs until database/sql gets the virtual
// connection back. That is at once for the methods of *sql.DB, at its end for a *sql.Tx, and at Close for a *sql.Conn.
//
// So a *sql.Conn is one session from the moment at which that makes a difference, and a *sql.Conn that only reads holds nothing. What was left in the
// session is taken away before the next user gets the connection, as for every lease. So db.Exec("SET …") has no effect on later statements.
//
// Scopes, deadlines and cancels are the pool's. Methods without a ctx, such as db.Query, use context.Background: they have no deadline and no scope.
// The pool's MaxConns bounds the connections, and a caller waits in the pool's queue. Do not set MaxOpenConns to MaxConns: a virtual connection that
// waits for its turn would stop others from riding.
//
// # How it differs from pgx's stdlib
//
// Arguments, results, column types and errors are those of pgx's package stdlib. These differ:
//
//   - Raw gives a *Conn of this package. Its Lease and Conn methods return the lease and the *pgx.Conn. Use them for COPY, batches and LISTEN.
//   - Prepare keeps only the text and the number of its arguments, and asks the server the first time. pgx prepares the text on each connection.
//   - Two statements may run at once on one *sql.Conn while it holds no lease. With a lease the second one gets an error, as with pgx.
//   - driver.ErrBadConn means that the session of a *sql.Conn or *sql.Tx is gone, and that the statement did not run. The pool itself runs again what
//     did not run, so other errors have their reasons. lmipool.Retryable and lmipool.OutcomeUnknown classify them.
//   - Stats counts virtual connections. The pool's Stat counts connections.
//   - Close closes the *sql.DB, and not the pool.
//
// With pool.Pool.With, each *sql.DB has the settings of one tenant. There, a statement or transaction that needs a session takes one more round trip,
// which sets the settings, and is an error behind a pooler: see pool.Bound.Acquire.
package stdlib

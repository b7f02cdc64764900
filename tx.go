package lmipool

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/pool"
)

// Beginner is [pool.Beginner]: it begins transactions, as a [DB] does, or savepoints, as a pgx.Tx does.
type Beginner = pool.Beginner

// TxOptions is [pool.TxOptions]. The zero value means the server's default transaction, tried once.
type TxOptions = pool.TxOptions

// InTx runs fn in a transaction, which it commits if fn returns nil and rolls back if fn returns an error or panics: see [pool.InTx]. db is an
// lmipool pool, a pgxpool pool or a mock. On an lmipool pool BEGIN is sent together with the first statement. fn runs again only if opts.MaxRetries
// says so.
func InTx(ctx context.Context, db Beginner, opts TxOptions, fn func(ctx context.Context, tx pgx.Tx) error) error {
	if isNil(db) {
		db = nil // pool.InTx returns an error for a nil Beginner
	}
	return pool.InTx(ctx, db, opts, fn)
}

package lmipool

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/pool"
)

// Beginner is [pool.Beginner]: what begins transactions, such as a [DB], or savepoints,
// such as a pgx.Tx.
type Beginner = pool.Beginner

// TxOptions is [pool.TxOptions]. The zero value is the server's default transaction,
// tried once.
type TxOptions = pool.TxOptions

// InTx runs fn in a transaction, which it commits if fn returns nil and rolls back if
// fn returns an error or panics: [pool.InTx], which says more. db is lmipool's pool,
// pgxpool's or a mock; on lmipool's, BEGIN travels with the first statement. fn runs again
// only if opts.MaxRetries says so.
func InTx(ctx context.Context, db Beginner, opts TxOptions, fn func(ctx context.Context, tx pgx.Tx) error) error {
	if isNil(db) {
		db = nil // which pool has an error for
	}
	return pool.InTx(ctx, db, opts, fn)
}

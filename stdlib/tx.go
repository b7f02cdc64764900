package stdlib

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/pool"
)

// Begin is BeginTx without a ctx.
func (c *Conn) Begin() (driver.Tx, error) {
	return c.BeginTx(context.Background(), driver.TxOptions{})
}

// BeginTx begins a transaction on the lease, which the virtual connection keeps until it is given back.
func (c *Conn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	var opts pgx.TxOptions
	switch sql.IsolationLevel(o.Isolation) {
	case sql.LevelDefault:
	case sql.LevelReadUncommitted:
		opts.IsoLevel = pgx.ReadUncommitted
	case sql.LevelReadCommitted:
		opts.IsoLevel = pgx.ReadCommitted
	case sql.LevelRepeatableRead, sql.LevelSnapshot:
		opts.IsoLevel = pgx.RepeatableRead
	case sql.LevelSerializable:
		opts.IsoLevel = pgx.Serializable
	default:
		return nil, fmt.Errorf("lmipool: stdlib: PostgreSQL has no isolation level %s: use one from LevelDefault to LevelSnapshot, or LevelSerializable", sql.IsolationLevel(o.Isolation))
	}
	if o.ReadOnly {
		opts.AccessMode = pgx.ReadOnly
	}
	t := tx{ctx: ctx}
	err := c.on(ctx, func(l *pool.Lease) (err error) {
		if t.Tx, err = l.BeginTx(ctx, opts); pgerr.IsLost(err) && !pgerr.DidNotRun(err) {
			return pgerr.NotRun("the connection was lost at BEGIN", err) // a BEGIN has no effect after that
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

// tx ends a transaction with the ctx that began it, since database/sql has no other.
type tx struct {
	pgx.Tx
	ctx context.Context
}

func (t tx) Commit() error   { return t.Tx.Commit(t.ctx) }
func (t tx) Rollback() error { return t.Tx.Rollback(t.ctx) }

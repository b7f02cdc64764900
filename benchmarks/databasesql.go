package main

import (
	"context"
	"database/sql"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	pgxstdlib "github.com/jackc/pgx/v5/stdlib"

	"github.com/lmipool/lmipool/pool"
	"github.com/lmipool/lmipool/stdlib"
)

// These are the two pools under database/sql.
const (
	lmipoolSQL = "lmipool-sql"
	plainSQL   = "pgxpool-sql"
)

// sqlDB is a *sql.DB with the methods that the workloads need, and the pool that it runs on.
type sqlDB struct {
	*sql.DB
	pool db
}

// overSQL puts database/sql on p, which was made with err.
func overSQL(p db, err error) (db, error) {
	if err != nil {
		return nil, err
	}
	switch on := p.(type) {
	case *pool.Pool:
		return sqlDB{stdlib.OpenDB(on), on}, nil
	case *pgxpool.Pool:
		return sqlDB{pgxstdlib.OpenDBFromPool(on), on}, nil
	}
	return nil, errors.New("database/sql on a pool that is not known")
}

func (d sqlDB) Exec(ctx context.Context, sql string, args ...any) (tag pgconn.CommandTag, err error) {
	_, err = d.ExecContext(ctx, sql, args...)
	return tag, err
}

func (d sqlDB) Query(context.Context, string, ...any) (pgx.Rows, error) {
	return nil, errors.New("database/sql has no pgx.Rows")
}

func (d sqlDB) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return d.QueryRowContext(ctx, sql, args...)
}

func (d sqlDB) Ping(ctx context.Context) error { return d.PingContext(ctx) }

func (d sqlDB) Close() {
	_ = d.DB.Close()
	d.pool.Close()
}

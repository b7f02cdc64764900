package main

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/pool"
)

// db has the methods of the systems that are measured.
type db interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	Ping(ctx context.Context) error
	Close()
}

const (
	lmipool = "lmipool"
	plain   = "pgxpool"
)

// system is a pool with a given ceiling. All other settings have their defaults, except lanes, which follow the flag -lanes.
type system struct {
	name     string
	maxConns int
}

func (s system) String() string { return fmt.Sprintf("%s %d", s.name, s.maxConns) }

// open makes the pool and its first connection.
func (s system) open(ctx context.Context, connString string, lanes pool.Switch) (db, error) {
	d, err := s.make(ctx, connString, lanes)
	return opens(ctx, d, err)
}

// opens opens the first connection of d, which was made with err. If it cannot, it closes d.
func opens(ctx context.Context, d db, err error) (db, error) {
	if err != nil {
		return nil, err
	}
	if err := d.Ping(ctx); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

func (s system) make(ctx context.Context, connString string, lanes pool.Switch) (db, error) {
	switch s.name {
	case lmipoolSQL:
		return overSQL(system{lmipool, s.maxConns}.make(ctx, connString, lanes))
	case plainSQL:
		return overSQL(system{plain, s.maxConns}.make(ctx, connString, lanes))
	case lmipool:
		return pool.New(ctx, connString, &pool.Config{MaxConns: int32(s.maxConns), Lanes: lanes})
	}
	return newPgxpool(ctx, connString, s.maxConns, func(*pgxpool.Config) {})
}

// newPgxpool makes a pgxpool with at most n connections. change may change its Config.
func newPgxpool(ctx context.Context, connString string, n int, change func(*pgxpool.Config)) (db, error) {
	c, err := pgxpool.ParseConfig(connString)
	if err != nil {
		return nil, err
	}
	c.MaxConns = int32(n)
	change(c)
	return pgxpool.NewWithConfig(ctx, c)
}

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
	if s.name == lmipool {
		return pool.New(ctx, connString, &pool.Config{MaxConns: int32(s.maxConns), Lanes: lanes})
	}
	config, err := pgxpool.ParseConfig(connString)
	if err != nil {
		return nil, err
	}
	config.MaxConns = int32(s.maxConns)
	return pgxpool.NewWithConfig(ctx, config)
}

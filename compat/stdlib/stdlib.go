// Package stdlib gives lmipool's package stdlib the names of pgx's, so that the tests of pgx's package run against it. It is for those tests only.
package stdlib

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/lmipool/lmipool/pool"
	ours "github.com/lmipool/lmipool/stdlib"
)

// Conn is lmipool's.
type Conn = ours.Conn

// These functions are pgx's, since lmipool's package has no part in what they do.
var (
	RegisterConnConfig     = stdlib.RegisterConnConfig
	UnregisterConnConfig   = stdlib.UnregisterConnConfig
	RandomizeHostOrderFunc = stdlib.RandomizeHostOrderFunc
)

// OptionOpenDB is an option of OpenDB.
type OptionOpenDB func(*pool.Config)

// OptionBeforeConnect sets pool.Config's BeforeConnect.
func OptionBeforeConnect(f func(context.Context, *pgx.ConnConfig) error) OptionOpenDB {
	return func(c *pool.Config) { c.BeforeConnect = f }
}

// OptionAfterConnect sets pool.Config's AfterConnect.
func OptionAfterConnect(f func(context.Context, *pgx.Conn) error) OptionOpenDB {
	return func(c *pool.Config) { c.AfterConnect = f }
}

// ShouldPingParams has the fields that pgx's tests use.
type ShouldPingParams struct {
	Conn         *pgx.Conn
	IdleDuration time.Duration
}

// OptionShouldPing and OptionResetSession end the process, since lmipool does not have them.
func OptionShouldPing(func(context.Context, ShouldPingParams) bool) OptionOpenDB {
	return missing("OptionShouldPing")
}

func OptionResetSession(func(context.Context, *pgx.Conn) error) OptionOpenDB {
	return missing("OptionResetSession")
}

// missing ends the process. A panic instead would run the test's deferred calls, which may wait for ever.
func missing(name string) OptionOpenDB {
	fmt.Println("lmipool has no " + name)
	os.Exit(1)
	return nil
}

// OpenDB opens a pool for config, and a *sql.DB on it. Closing the *sql.DB closes the pool, which waits only shortly for what a test has not closed.
func OpenDB(config pgx.ConnConfig, opts ...OptionOpenDB) *sql.DB {
	c, err := pgxpool.ParseConfig(config.ConnString())
	if err != nil {
		panic(err)
	}
	if config.DefaultQueryExecMode == pgx.QueryExecModeSimpleProtocol { // pgx 5.11 is not safe in this mode, so lmipool refuses it
		config.DefaultQueryExecMode = pgx.QueryExecModeExec
	}
	c.ConnConfig = &config
	return open(c, opts...)
}

// OpenDBFromPool opens a pool like p, and a *sql.DB on it.
func OpenDBFromPool(p *pgxpool.Pool, opts ...OptionOpenDB) *sql.DB { return open(p.Config(), opts...) }

func open(c *pgxpool.Config, opts ...OptionOpenDB) *sql.DB {
	own := &pool.Config{}
	for _, o := range opts {
		o(own)
	}
	p, err := pool.NewWithConfig(context.Background(), c, own)
	if err != nil {
		panic(err)
	}
	db := sql.OpenDB(connector{ours.NewConnector(p), p})
	db.SetMaxIdleConns(ours.MaxIdleConns)
	return db
}

type connector struct {
	driver.Connector
	p *pool.Pool
}

func (c connector) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_ = c.p.Shutdown(ctx)
	return nil
}

// Package pgxpool gives lmipool the names of pgx's package pgxpool, so that the tests of that package run against lmipool. It is for those tests
// only. Methods that lmipool does not have end the process; the tests that use them are in the list of differences.
package pgxpool

import (
	"context"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/pool"
)

// These are types of pgxpool that lmipool uses as they are.
type (
	Config                = pgxpool.Config
	ShouldPingParams      = pgxpool.ShouldPingParams
	TraceAcquireStartData = pgxpool.TraceAcquireStartData
	TraceAcquireEndData   = pgxpool.TraceAcquireEndData
	TraceReleaseData      = pgxpool.TraceReleaseData
	Tx                    = pgxpool.Tx
	Stat                  = pool.Stat
)

// ParseConfig is pgxpool's.
func ParseConfig(connString string) (*Config, error) { return pgxpool.ParseConfig(connString) }

// Pool is a pool.Pool.
type Pool struct {
	*pool.Pool
	config *Config
}

// New opens a pool.
func New(ctx context.Context, connString string) (*Pool, error) {
	config, err := ParseConfig(connString)
	if err != nil {
		return nil, err
	}
	return NewWithConfig(ctx, config)
}

// NewWithConfig opens a pool with pgxpool's Config.
func NewWithConfig(ctx context.Context, config *Config) (*Pool, error) {
	p := &Pool{config: config}
	c := &pool.Config{}
	c.MaxWait, c.MaxQueue = -1, -1         // pgxpool has no bounds
	if config.MaxConnLifetimeJitter == 0 { // 0 means none in pgxpool, and a tenth of MaxConnLifetime in lmipool
		c.MaxConnLifetimeJitter = -1
	}
	if config.ConnConfig != nil {
		c.Tracer = p.tracer(config.ConnConfig.Tracer)
	}
	var err error
	p.Pool, err = pool.NewWithConfig(ctx, config, c)
	return p, err
}

// Config returns a copy of NewWithConfig's config.
func (p *Pool) Config() *Config { return p.config.Copy() }

// Acquire is pool.Pool.Acquire.
func (p *Pool) Acquire(ctx context.Context) (*Conn, error) {
	l, err := p.Pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	return &Conn{l}, nil
}

// AcquireFunc is pool.Pool.AcquireFunc.
func (p *Pool) AcquireFunc(ctx context.Context, f func(*Conn) error) error {
	return p.Pool.AcquireFunc(ctx, func(l *pool.Lease) error { return f(&Conn{l}) })
}

// AcquireAllIdle ends the process, since lmipool does not have it.
func (p *Pool) AcquireAllIdle(context.Context) []*Conn { return missing[[]*Conn]("AcquireAllIdle") }

// Conn is a pool.Lease.
type Conn struct{ *pool.Lease }

// Hijack ends the process, since lmipool does not have it.
func (c *Conn) Hijack() *pgx.Conn { return missing[*pgx.Conn]("Hijack") }

// missing ends the process. A panic instead would run the test's deferred calls, which may wait for ever.
func missing[T any](name string) (none T) {
	fmt.Println("lmipool has no " + name)
	os.Exit(1)
	return none
}

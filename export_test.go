package lmipool

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/pool"
)

// OpenIn is Open in an environment of the test's own.
func OpenIn(ctx context.Context, vars map[string]string, connString string, c *Config) (*Pool, error) {
	lookup, environ := in(vars)
	return open(ctx, "Open", c, lookup, environ, fromString(connString))
}

// OpenConfigIn is OpenConfig in an environment of the test's own.
func OpenConfigIn(ctx context.Context, vars map[string]string, px *pgxpool.Config, c *Config) (*Pool, error) {
	lookup, environ := in(vars)
	return open(ctx, "OpenConfig", c, lookup, environ, fromPgxpool(px))
}

func in(vars map[string]string) (lookup func(string) (string, bool), environ []string) {
	for name, value := range vars {
		environ = append(environ, name+"="+value)
	}
	return func(name string) (string, bool) { v, ok := vars[name]; return v, ok }, environ
}

// Margins says how long before the deadline fn's ctx ends, and the stand-in replies.
func Margins(c *Config, left, late time.Duration) (margin, reply time.Duration) {
	return newBulkhead(c, nil).margins(left, late)
}

// ForPool is what c hands to package pool.
func (c *Config) ForPool() *pool.Config { return c.forPool() }

// Terminate is what SIGTERM does.
func Terminate(p *Pool) { p.terminate() }

// EndsBy is the end of the process for a pool that a test has opened in this one.
func EndsBy(p *Pool, exit func()) { p.bulkhead.down.exit = exit }

// AskedAgo moves the first reply that asked for the end of the process into the past.
func AskedAgo(p *Pool, ago time.Duration) {
	p.bulkhead.mu.Lock()
	defer p.bulkhead.mu.Unlock()
	p.bulkhead.down.asked = time.Now().Add(-ago)
}

// Saw tells p that something was late.
func Saw(p *Pool, late time.Duration) { p.bulkhead.late.saw(late) }

// Settings are the names in the log and the variables of what an operator can override, by the fields of Config.
func Settings() (names, variables map[string]string) {
	names, variables = map[string]string{}, map[string]string{}
	for _, s := range settings {
		names[s.field], variables[s.field] = s.name(), s.variable()
	}
	return names, variables
}

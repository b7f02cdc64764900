package lmipool

import (
	"context"
	"time"

	"github.com/lmipool/lmipool/lambdaenv"
)

// OpenIn is Open in an environment of the test's own.
func OpenIn(ctx context.Context, vars map[string]string, connString string, c *Config) (*Pool, error) {
	lookup := func(name string) (string, bool) { v, ok := vars[name]; return v, ok }
	var environ []string
	for name, value := range vars {
		environ = append(environ, name+"="+value)
	}
	return open(ctx, connString, c, lookup, environ)
}

// Margins says how long before the deadline fn's ctx ends, and the stand-in replies.
func Margins(c *Config, left time.Duration) (margin, reply time.Duration) {
	return newBulkhead(c, lambdaenv.Env{}).margins(left)
}

// Terminate is what SIGTERM does.
func Terminate(p *Pool) { p.terminate() }

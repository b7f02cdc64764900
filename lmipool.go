package lmipool

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/connstring"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/safelog"
	"github.com/lmipool/lmipool/lambdaenv"
	"github.com/lmipool/lmipool/pool"
)

// Pool is a [pool.Pool] that knows what runs it.
type Pool struct {
	*pool.Pool
	env        lambdaenv.Env
	config     Config
	bulkhead   *bulkhead
	terminated sync.Once
}

// Env returns what Open detected.
func (p *Pool) Env() lambdaenv.Env { return p.env }

// Config returns a copy of what Open has chosen: variables, config, connection string and defaults in one. No field has a secret. What [Handler] decides
// by the time that an invocation has is 0 in it, unless it was set.
func (p *Pool) Config() *Config { return p.config.fromPool(p.Pool.Config()) }

// Open makes the pool that all invocations of this process share. Call it once,
// before lambda.Start. It does not dial: a wrong configuration is an error here,
// a server that is away is one of the first use; call Warm to connect during
// Lambda's init phase.
//
// connString is what [pgx.ParseConfig] takes, and may have pgxpool's pool_*
// settings. Empty means DATABASE_URL, else the PG* variables.
//
// Each setting comes from the first of: its LMIPOOL_* variable, config, the
// connection string, the default; so an operator can override code. The default of
// MaxConns is by formula:
//
//	managed instance      a quarter of AWS_LAMBDA_MAX_CONCURRENCY, from 2 to 64
//	any other Lambda      2: one invocation at a time, which may nest two uses
//	not on Lambda         pgxpool's: the greater of 4 and the number of CPUs
//
// A quarter, because an invocation that uses the database for a quarter of its
// time is a busy one; it is a ceiling, and the pool opens fewer while the queue
// stays short. LMIPOOL_PLAIN=on turns everything off but pgxpool and the ceiling.
//
// A host of AWS is verified (sslmode=verify-full) unless the connection string or
// PGSSLMODE says otherwise; see [Config.RootCAs] for the certificates it takes.
// Package iam logs in with the function's role in place of a password.
//
// Unless the connection string or PGAPPNAME names one, application_name is
// "lmipool/<8 random hex digits>/<function>": one name per environment.
//
// One line at level Info says what was detected, what was chosen, and by whom.
// config is read once; ctx gives dials its values, not its end.
func Open(ctx context.Context, connString string, config *Config) (*Pool, error) {
	p, err := open(ctx, connString, config, os.LookupEnv, os.Environ())
	if err == nil && p.env.Kind == lambdaenv.ManagedInstances {
		p.bulkhead.down.exit = p.endProcess
	}
	return p, err
}

func open(ctx context.Context, connString string, config *Config, lookup func(string) (string, bool), environ []string) (*Pool, error) {
	if ctx == nil {
		return nil, pgerr.Config(errors.New("lmipool: Open: the ctx is nil: use context.Background"))
	}
	var c Config
	if config != nil {
		c = *config
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	c.Logger = safelog.Guard(c.Logger)
	env, envErr := lambdaenv.DetectFunc(lookup)
	if envErr != nil {
		// The platform's variables are not the user's to mend: say it and go on.
		c.Logger.Warn("lmipool: the Lambda environment is not as expected", "error", envErr)
	}
	warnOfUnknown(environ, c.Logger)
	connString, source := findConnString(connString, lookup)
	if c.BeforeConnect == nil && onLambda(env, lookup) && !namesHost(connString, lookup) {
		return nil, pgerr.Config(noHost(connString, source))
	}
	dsn, err := pgx.ParseConfig(connString)
	if err != nil {
		return nil, pgerr.Config(fmt.Errorf("lmipool: %s: %w", source, connstring.Fault(err)))
	}
	if err := connstring.Check(connString, &dsn.Config); err != nil {
		return nil, pgerr.Config(fmt.Errorf("lmipool: %s: %w", source, err))
	}
	chosen, errs := c.resolve(lookup, dsn, ceiling(env))
	if c.ApplicationName == "" {
		c.ApplicationName = applicationName(env.FunctionName)
	}
	p, err := pool.New(ctx, connString, c.forPool())
	if err := named(errors.Join(errs, c.validate(), err), chosen); err != nil {
		if p != nil {
			p.Close()
		}
		return nil, pgerr.Config(err)
	}
	c.settle(env)
	logOpen(c.Logger, env, source, dsn, c.ApplicationName, chosen, p)
	return &Pool{Pool: p, env: env, config: c, bulkhead: newBulkhead(&c)}, nil
}

// findConnString returns the connection string and where it came from.
func findConnString(s string, lookup func(string) (string, bool)) (connString, source string) {
	if s != "" {
		return s, "connection string"
	}
	if s, _ := lookup("DATABASE_URL"); s != "" {
		return s, "DATABASE_URL"
	}
	return "", "PG* variables"
}

// onLambda reports whether this is a Lambda of any kind, or looks like one: libpq's last resort is a local socket, which
// none has, and the error would be about a path nobody wrote.
func onLambda(env lambdaenv.Env, lookup func(string) (string, bool)) bool {
	name, _ := lookup("AWS_LAMBDA_FUNCTION_NAME")
	return env.Kind != lambdaenv.NotLambda || name != ""
}

// namesHost reports whether somebody has said which host to dial, or a service file may.
func namesHost(connString string, lookup func(string) (string, bool)) bool {
	host, _ := lookup("PGHOST")
	service, _ := lookup("PGSERVICE")
	return host != "" || service != "" || connstring.NamesHost(connString)
}

func noHost(connString, source string) error {
	if connString != "" {
		return fmt.Errorf("lmipool: no database: the %s has no host, and neither PGHOST nor BeforeConnect gives one", source)
	}
	return errors.New("lmipool: no database: pass a connection string to Open, or set DATABASE_URL or PGHOST")
}

// ceiling is the formula of Open's comment; 0 leaves MaxConns to pgxpool.
func ceiling(env lambdaenv.Env) int32 {
	switch env.Kind {
	case lambdaenv.NotLambda:
		return 0
	case lambdaenv.ManagedInstances:
		return int32(min(max((env.MaxConcurrency+3)/4, 2), 64))
	}
	return 2
}

// applicationName is one per process, so that pg_stat_activity can tell the
// environments of a function apart.
func applicationName(function string) string {
	id := make([]byte, 4)
	rand.Read(id) // never fails
	name := "lmipool/" + hex.EncodeToString(id)
	if function != "" {
		name += "/" + function
	}
	return name[:min(len(name), 63)] // function names are ASCII; PostgreSQL keeps 63 bytes
}

// logOpen writes the one line. No field of it can hold a secret.
func logOpen(log *slog.Logger, env lambdaenv.Env, source string, dsn *pgx.ConnConfig, appName string, chosen []chosen, p *pool.Pool) {
	if named := dsn.RuntimeParams["application_name"]; named != "" {
		appName = named
	}
	attrs := []any{
		slog.Group("environment",
			"kind", env.Kind.String(), "max_concurrency", env.MaxConcurrency, "memory_mb", env.MemoryMB,
			"function", env.FunctionName, "version", env.FunctionVersion, "region", env.Region),
		slog.Group("database",
			"from", source, "upstream", p.Upstream(), "host", dsn.Host, "port", dsn.Port, "database", dsn.Database, "user", dsn.User,
			"application_name", appName),
	}
	for _, s := range chosen {
		switch {
		case s.field == "MaxConns":
			attrs = append(attrs, slog.Group(s.name(), "value", p.Stat().MaxConns(), "by", s.by))
		case s.by != "default":
			attrs = append(attrs, slog.Group(s.name(), "value", s.value, "by", s.by))
		}
	}
	log.Info("lmipool: open", attrs...)
}

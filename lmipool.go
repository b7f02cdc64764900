package lmipool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/internal/eventlog"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/safelog"
	"github.com/lmipool/lmipool/lambdaenv"
)

// Open makes the pool that all invocations of this process share. Call it once, before lambda.Start. It does not dial. It returns an error if the
// configuration is wrong; if the server is away, the first use of the pool returns an error. Call Warm to connect during Lambda's init phase.
//
// connString is what [pgx.ParseConfig] takes, and may have pgxpool's pool_*
// settings. Empty means DATABASE_URL, else the PG* variables.
//
// Each setting comes from the first of these that sets it: its LMIPOOL_* variable, config, the connection string, the default. A variable comes first
// so that an operator can override code. The default of MaxConns comes from a formula:
//
//	managed instance      a quarter of AWS_LAMBDA_MAX_CONCURRENCY, from 2 to 64
//	any other Lambda      2: one invocation at a time, which may nest two uses
//	not on Lambda         pgxpool's: the greater of 4 and the number of CPUs
//
// It is a quarter because few invocations use the database for more than a quarter of their time. MaxConns is a ceiling: the pool opens fewer
// connections while its queue stays short. LMIPOOL_PLAIN=on turns off everything but pgxpool and MaxConns.
//
// The certificate of an AWS host is verified (sslmode=verify-full) unless the connection string or PGSSLMODE says otherwise; [Config.RootCAs] has the
// certificates that this needs. Package iam logs in with the function's role in place of a password.
//
// The server shows each connection as "lmipool/<id>/<name>" (application_name). The id is random, and each pool has its own. The name is that of the
// connection string, PGAPPNAME, config or the function.
//
// One log line at level Info says what was detected, which settings were chosen from which source, what each switch's Auto means here, and why. Open
// reads config once. Dials get ctx's values, but do not end when ctx ends.
func Open(ctx context.Context, connString string, config *Config) (*Pool, error) {
	return ends(open(ctx, "Open", config, os.LookupEnv, os.Environ(), fromString(connString)))
}

// OpenConfig is [Open] with pgxpool's own Config, which must come from [pgxpool.ParseConfig], in place of a connection string. It copies both
// configs.
//
// Each setting comes from the first of these that sets it: its LMIPOOL_* variable, config, cfg, the formula of MaxConns, the default. All fields of
// cfg are used, its ConnConfig included, except BeforeAcquire if there is a PrepareConn. If a number or time of cfg has still the value that
// ParseConfig gave it, it counts as set only if the connection string names it, since ParseConfig gives MaxConns a value in any case.
func OpenConfig(ctx context.Context, cfg *pgxpool.Config, config *Config) (*Pool, error) {
	return ends(open(ctx, "OpenConfig", config, os.LookupEnv, os.Environ(), fromPgxpool(cfg)))
}

// ends allows p to end the process when the process stands down on managed instances. ends does nothing if err is not nil.
func ends(p *Pool, err error) (*Pool, error) {
	if err == nil && p.env.Kind == lambdaenv.ManagedInstances {
		p.bulkhead.down.exit = p.endProcess
	}
	return p, err
}

func open(ctx context.Context, who string, config *Config, lookup func(string) (string, bool), environ []string, from origin) (*Pool, error) {
	if ctx == nil {
		return nil, pgerr.Config(fmt.Errorf("lmipool: %s: the ctx is nil: use context.Background", who))
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
		// The user cannot correct the platform's variables, so this is only logged.
		c.Logger.Warn("lmipool: the Lambda environment is not as expected", "error", envErr)
	}
	warnOfUnknown(environ, c.Logger)
	db, err := from(lookup, c.BeforeConnect == nil && onLambda(env, lookup))
	if err != nil {
		return nil, pgerr.Config(err)
	}
	chosen, errs := c.resolve(lookup, db.given, ceiling(env))
	if c.ApplicationName == "" {
		c.ApplicationName = env.FunctionName
	}
	socket, _ := lookup(statusSocket)
	feed := new(statusFeed)
	last := eventlog.New(c.Logger)
	watched := c
	watched.Observers = append(slices.Clone(c.Observers), last)
	if socket != "" {
		watched.Observers = append(watched.Observers, feed)
	}
	p, err := db.pool(ctx, watched.forPool())
	if err := named(errors.Join(errs, c.validate(chosen), err), chosen); err != nil {
		if p != nil {
			p.Close()
		}
		return nil, pgerr.Config(err)
	}
	c.settle(env)
	own := &Pool{Pool: p, env: env, config: c, bulkhead: newBulkhead(&c, watched.Observers), last: last}
	if err := feed.serve(socket, own); err != nil {
		own.Close()
		return nil, pgerr.Config(err)
	}
	own.logOpen(db, chosen)
	return own, nil
}

// ceiling returns MaxConns by the formula in Open's documentation, or 0 for pgxpool's default.
func ceiling(env lambdaenv.Env) int32 {
	switch env.Kind {
	case lambdaenv.NotLambda:
		return 0
	case lambdaenv.ManagedInstances:
		return int32(min(max((env.MaxConcurrency+3)/4, 2), 64))
	}
	return 2
}

// logOpen logs what Open has detected and chosen, in one line without secrets. The line always shows the switches whose Auto depends on the
// environment, as on or off, with the reason.
func (p *Pool) logOpen(db *database, chosen []chosen) {
	dsn, env, c := db.dsn, p.env, p.Config()
	kind := []any{"kind", env.Kind.String()}
	if env.Kind != lambdaenv.NotLambda {
		kind = append(kind, "max_concurrency", env.MaxConcurrency, "memory_mb", env.MemoryMB,
			"function", env.FunctionName, "version", env.FunctionVersion, "region", env.Region)
	}
	attrs := []any{
		slog.Group("environment", kind...),
		slog.Group("database",
			"from", db.from, "upstream", p.Upstream(), "host", dsn.Host, "port", dsn.Port, "database", dsn.Database, "user", dsn.User,
			"application_name", c.ApplicationName),
	}
	if mode, by := p.SSLMode(); by != "" {
		attrs = append(attrs, slog.Group("sslmode", "value", mode, "by", by))
	}
	for _, s := range chosen {
		value, by := any(s.value), s.by
		switch s.field {
		case "MaxConns":
			value = c.MaxConns
		case "FleetBudget":
			value, by = p.fleetBudget(s, c)
		case "Lanes", "Isolation", "StandIn", "CatchPanics":
			value, by = p.decided(s, c)
		default:
			if by == "default" {
				continue
			}
		}
		attrs = append(attrs, slog.Group(s.name(), "value", value, "by", by))
	}
	c.Logger.Info("lmipool: open", attrs...)
}

// fleetBudget returns what bounds the connections of all environments together, and what decided that.
func (p *Pool) fleetBudget(s chosen, c *Config) (value any, by string) {
	why := p.WhyOff("FleetBudget")
	switch {
	case c.FleetBudget < 0:
		return Off, s.by
	case why != "":
		return Off, why
	case c.FleetBudget == 0:
		return "the role's CONNECTION LIMIT, if it has one", s.by
	}
	return c.FleetBudget, s.by
}

// decided returns whether the switch s is on or off now, and what decided that.
func (p *Pool) decided(s chosen, c *Config) (value Switch, by string) {
	is := *s.of(c).(*Switch)
	if is == Auto {
		is = On
	}
	switch said := Switch(s.value); {
	case said == is: // whoever set the switch decided it
		return said, s.by
	case is == On && (s.field == "Lanes" || s.field == "Isolation"):
		return is, "default"
	case s.field == "Lanes" || s.field == "Isolation" || c.Plain == On:
		return is, p.WhyOff(s.field)
	case is == On:
		return is, "managed instance"
	}
	return is, "not a managed instance"
}

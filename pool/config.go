package pool

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/pgdial"
	"github.com/lmipool/lmipool/internal/safelog"
)

// Config has pgxpool's names and meanings where it has pgxpool's fields. The zero value of a field means "not set here": the connection string's
// pool_* setting applies, or else the default that the field names. A nil *Config is all defaults. Config is read once, by [New]; changing it later
// has no effect.
type Config struct {
	// MaxConns is the ceiling: the pool never has more connections than this on the server, those that are still being closed included. Raise it when
	// [Stat.EmptyAcquireWaitTime] grows while the database has room. Defaults to the connection string's pool_max_conns, else to the greater of 4 and
	// the number of CPUs, as in pgxpool.
	//
	// It is a ceiling, not a size: the pool starts with one connection and opens another only when the queue would take longer to drain than a dial
	// is worth (package internal/sched has the rule).
	MaxConns int32

	// MinConns is how many connections the pool keeps open once it is in use.
	// Negative means none, whatever the connection string says. Defaults to 0.
	MinConns int32

	// MinIdleConns is how many idle connections the pool keeps ready once it is in use, within MaxConns. Negative means none. Defaults to 0.
	MinIdleConns int32

	// MaxConnLifetime is the age at which a connection is replaced, when it is next free. Negative means never. Defaults to 1 hour.
	MaxConnLifetime time.Duration

	// MaxConnLifetimeJitter is the most that is added at random to each connection's lifetime, so that they do not all end together. Negative means
	// none. Defaults to a tenth of MaxConnLifetime (pgxpool: 0).
	MaxConnLifetimeJitter time.Duration

	// MaxConnIdleTime is how long a connection may be unused before it is closed. Negative means for ever. Defaults to 30 minutes.
	MaxConnIdleTime time.Duration

	// HealthCheckPeriod is the time between two rounds of housekeeping: closing what is too old or too long idle, restoring MinConns and
	// MinIdleConns, reporting unread Rows. Defaults to 1 minute.
	HealthCheckPeriod time.Duration

	// PingTimeout bounds the ping of a connection that was idle for more than a second. A connection that does not answer is replaced. Negative means
	// no bound but the caller's ctx. Defaults to 2 seconds (pgxpool: no bound, so a dead network costs the caller's whole deadline).
	PingTimeout time.Duration

	// ConnectTimeout bounds one dial, TLS and authentication included, and each of its hooks. Defaults to the connection string's connect_timeout,
	// else to 10 seconds (pgxpool: 2 minutes); for hosts of AWS to 2 seconds for the dial itself, as AWS advises. Where it is such a default it
	// bounds the TCP part of a dial. A server that accepts the connection and then says nothing, as an Aurora Serverless that has paused, is waited
	// for, also at first use, and each try that it does not answer in time gives the next twice the time, up to 30 seconds. Where it was set no try
	// takes longer, and a server that was never reached is an error after the first. While a server is away the TCP part is bounded by 1 second.
	ConnectTimeout time.Duration

	// CancelWait is how long a call on a connection of its own, whose ctx ends while its statement runs, waits for the server's answer to the cancel
	// request. If that comes, as it does within a few round trips, the connection is kept; the call's error has the ctx's error in its chain, or is
	// nil if the statement was quicker. Otherwise the connection is given up, and [CancelStat.Lost] says so. Shorten it if callers have no time
	// to spare, lengthen it if the database is far away. Negative means that the connection is closed at once, as in pgx, which is also what the raw
	// *pgx.Conn of a lease does. Defaults to 100 milliseconds, and for UpstreamRDSProxy, which takes no cancel requests, to -1.
	CancelWait time.Duration

	// ReportRowsAfter is how long Rows or BatchResults that were opened outside a scope may stay open before they are logged, once, with the stack
	// that opened them. Negative means never. Defaults to 1 minute.
	ReportRowsAfter time.Duration

	// ReportIdleTxAfter is how long a lease with an open transaction may do nothing before it is logged, with the stack that acquired it, while it
	// lasts: an idle transaction keeps a connection from the others, its locks and, on the server, dead rows. It is noticed at most half of that
	// later, and logged once until it is used again. A connection whose *pgx.Conn the user has taken is not watched. Negative means never. Defaults
	// to 1 second.
	ReportIdleTxAfter time.Duration

	// ApplicationName is sent as application_name unless the connection string or PGAPPNAME names one. Defaults to none.
	ApplicationName string

	// RootCAs are certificates in PEM that may vouch for the server's, beside those of sslrootcert, or without one beside the system's: the bundle
	// that AWS publishes for RDS and Aurora, or that of an authority of your own, by go:embed. With them, and for hosts of AWS without them, the
	// connection string's default is sslmode=verify-full; an sslmode that it names, or PGSSLMODE, wins, with a warning if it is weaker. Defaults to
	// none.
	RootCAs []byte

	// The hooks have pgxpool's signatures and meanings. A panic in a hook is logged and counts as its failure. Hooks run outside every lock and may
	// be called concurrently, for different connections.
	//
	// BeforeConnect runs before each dial, with a copy of the connection's configuration that it may change (password, DialFunc, TLSConfig,
	// DefaultQueryExecMode ...). Its ctx ends when the dial's time is over. If the server refuses the password and BeforeConnect then has another
	// one, that is tried before the dial counts as failed.
	BeforeConnect func(context.Context, *pgx.ConnConfig) error
	// AfterConnect runs once on each new connection: type registration, SET.
	AfterConnect func(context.Context, *pgx.Conn) error
	// PrepareConn runs before a connection is handed out. What it sends counts as left behind, and so does what AfterRelease sends: with Isolation it
	// costs a reset. The four outcomes are pgxpool's: false destroys the connection; an error is the caller's; false without an error tries another
	// connection.
	PrepareConn func(context.Context, *pgx.Conn) (bool, error)
	// AfterRelease runs when a connection comes back; false destroys it.
	AfterRelease func(*pgx.Conn) bool
	// BeforeClose runs before a connection is closed. It is not called for one that had to be torn away from a user who still had it.
	BeforeClose func(*pgx.Conn)
	// ShouldPing decides whether a connection is pinged before it is handed out. Defaults to: idle for more than 1 second.
	ShouldPing func(context.Context, pgxpool.ShouldPingParams) bool

	// Lanes says what becomes of short reads that find no idle connection. With Auto they ride together: the next connection that comes free takes those
	// that are queued, up to a cap, and sends them as one pipeline, each its own transaction (docs/lanes.md says who may ride). A default_query_exec_mode
	// other than cache_statement, and PrepareConn, make that impossible: both want to have a say in each statement. Then Auto has each read run alone,
	// as with Off, and On and Shadow are errors. For UpstreamRDSProxy Auto is Off; for other poolers see Upstream.
	Lanes Switch

	// LaneFunctions are functions, "name" or "schema.name", that reads may call and still ride: they must have no effect but their result. Built-in
	// functions that are not volatile need not be named. Without a schema the name counts in each. To Isolation, too, they leave nothing behind.
	// Defaults to none.
	LaneFunctions []string

	// Isolation says whether what an invocation leaves behind in a session (settings, roles, temporary tables, channels, advisory locks, cursors,
	// statements prepared in SQL, the values of sequences) is taken away before the next one gets the connection. With Auto the session is reset before
	// its next user's first statement runs, unless nothing was left behind. Nothing is, for certain, by reads and writes that call only what is known to
	// leave nothing, by their text and by what their names lead to, on tables without triggers; and by transaction control. What is not known, a function
	// of the user's say, counts as having left something. A reset costs the next user 120 to 270 µs and no round trip; prepared statements and what
	// AfterConnect has set stay. With Off nothing is reset, as in pgxpool.
	//
	// Behind a pooler in transaction mode, see Upstream, there is no session to reset, and in QueryExecModeExec pgx sends batches past the pool. There
	// Auto is Off (in that mode with a warning), and On is an error.
	Isolation Switch

	// Upstream says what is at the other end: the server, or a pooler that shares its sessions between clients. Say UpstreamPgBouncer if that is in
	// between, in transaction mode. Defaults to UpstreamAuto, which knows RDS Proxy by its name, and recognises other poolers when it connects.
	Upstream Upstream

	// Rerun says what becomes of a read if the connection of its lane was lost while it was under way. With Auto the read, which had no effect, runs once
	// more, alone; On is the same. With Off it fails.
	Rerun Switch

	// Tracer is given to each connection; if it is a pgxpool.AcquireTracer or ReleaseTracer, Acquire and Release call it. Defaults to none.
	Tracer pgx.QueryTracer

	// Logger gets what went wrong in the background and what invocations left
	// behind. A panic of its Handler costs the record. Defaults to [slog.Default].
	Logger *slog.Logger

	// Plain, if it is On, turns every clever thing off, whatever the other switches say: each call goes straight to pgxpool, with MaxConns and the hooks;
	// no scopes, no queue of our own. Auto is Off.
	Plain Switch
}

// Defaults that differ from pgxpool's, with the reason at the field.
const (
	defaultPingTimeout     = 2 * time.Second
	defaultConnectTimeout  = 10 * time.Second
	defaultCancelWait      = 100 * time.Millisecond
	defaultReportRowsAfter = time.Minute
	defaultIdleTxAfter     = time.Second
	defaultPingAfter       = time.Second
)

// absurdConns is the MaxConns above which it is probably a mistake: a process of PostgreSQL takes some megabytes, and few
// servers have a max_connections of more.
const absurdConns = 1000

// forever is a hundred years: pgxpool has no "never" for some of its periods.
const forever = 100 * 365 * 24 * time.Hour

// withDefaults merges what the connection string says below what c says.
func (c *Config) withDefaults(px *pgxpool.Config) Config {
	var d Config
	if c != nil {
		d = *c
	}
	setDefault(&d.MaxConns, px.MaxConns)
	setDefault(&d.MinConns, px.MinConns)
	setDefault(&d.MinIdleConns, px.MinIdleConns)
	setDefault(&d.MaxConnLifetime, px.MaxConnLifetime)
	setDefault(&d.MaxConnIdleTime, px.MaxConnIdleTime)
	setDefault(&d.HealthCheckPeriod, px.HealthCheckPeriod)
	setDefault(&d.PingTimeout, px.PingTimeout, defaultPingTimeout)
	said := d.ConnectTimeout != 0 || px.ConnConfig.ConnectTimeout != 0
	setDefault(&d.ConnectTimeout, px.ConnConfig.ConnectTimeout, defaultConnectTimeout)
	if px.ConnConfig.ConnectTimeout = d.ConnectTimeout; !said && pgdial.InAWS(px.ConnConfig) {
		px.ConnConfig.ConnectTimeout = pgdial.AWSConnectTimeout
	}
	setDefault(&d.MaxConnLifetimeJitter, px.MaxConnLifetimeJitter, max(0, d.MaxConnLifetime/10))
	setDefault(&d.Upstream, UpstreamAuto)
	if d.Upstream = d.Upstream.of(px.ConnConfig); d.Upstream == UpstreamRDSProxy {
		setDefault(&d.CancelWait, -1)
	}
	setDefault(&d.CancelWait, defaultCancelWait)
	setDefault(&d.ReportRowsAfter, defaultReportRowsAfter)
	setDefault(&d.ReportIdleTxAfter, defaultIdleTxAfter)
	for _, s := range d.switches() {
		setDefault(s.value, Auto)
	}
	if d.Rerun == Auto {
		d.Rerun = On
	}
	if d.Plain == Auto {
		d.Plain = Off
	}
	setDefault(&d.Tracer, px.ConnConfig.Tracer)
	setDefault(&d.Logger, slog.Default())
	d.Logger = safelog.Guard(d.Logger)
	if d.PingTimeout < 0 {
		d.PingTimeout = forever
	}
	d.MinConns, d.MinIdleConns = max(0, d.MinConns), max(0, d.MinIdleConns)
	d.MaxConnLifetimeJitter = max(0, d.MaxConnLifetimeJitter)
	if d.ShouldPing == nil {
		d.ShouldPing = func(_ context.Context, p pgxpool.ShouldPingParams) bool { return p.IdleDuration > defaultPingAfter }
	}
	return d
}

// takeHooks gives c the hooks of px that it has not itself.
func (c *Config) takeHooks(px *pgxpool.Config) {
	if c.BeforeConnect == nil {
		c.BeforeConnect = px.BeforeConnect
	}
	if c.AfterConnect == nil {
		c.AfterConnect = px.AfterConnect
	}
	if c.PrepareConn == nil {
		c.PrepareConn = px.PrepareConn
	}
	if c.AfterRelease == nil {
		c.AfterRelease = px.AfterRelease
	}
	if c.BeforeClose == nil {
		c.BeforeClose = px.BeforeClose
	}
	if c.ShouldPing == nil {
		c.ShouldPing = px.ShouldPing
	}
}

// setDefault gives *field the first of values that is set, unless it is set.
func setDefault[T comparable](field *T, values ...T) {
	var zero T
	for _, v := range values {
		if *field != zero {
			return
		}
		*field = v
	}
}

// validate reports every fault at once, each with the field, its value and what would be right.
func (c *Config) validate() error {
	var errs []error
	fault := func(field string, value any, want string) {
		errs = append(errs, fmt.Errorf("lmipool: Config.%s is %v: want %s", field, value, want))
	}
	if c.MaxConns < 1 {
		fault("MaxConns", c.MaxConns, "1 or more")
	} else {
		want := fmt.Sprintf("at most MaxConns, %d", c.MaxConns)
		if c.MinConns > c.MaxConns {
			fault("MinConns", c.MinConns, want)
		}
		if c.MinIdleConns > c.MaxConns {
			fault("MinIdleConns", c.MinIdleConns, want)
		}
	}
	if c.HealthCheckPeriod <= 0 {
		fault("HealthCheckPeriod", c.HealthCheckPeriod, "a positive duration, or 0 for the default")
	}
	if c.ConnectTimeout < 0 {
		fault("ConnectTimeout", c.ConnectTimeout, "a positive duration, or 0 for the default")
	}
	for _, s := range c.switches() {
		if !slices.Contains(s.values, *s.value) {
			fault(s.name, fmt.Sprintf("%q", *s.value), oneOf(s.values))
		}
	}
	if !c.Upstream.shares() && c.Upstream != UpstreamDirect {
		fault("Upstream", fmt.Sprintf("%q", c.Upstream), oneOf([]Upstream{UpstreamAuto, UpstreamDirect, UpstreamRDSProxy, UpstreamPgBouncer}))
	}
	for i, f := range c.LaneFunctions {
		if !facts.ValidFunction(f) {
			fault(fmt.Sprintf("LaneFunctions[%d]", i), fmt.Sprintf("%q", f), `"name" or "schema.name", without parentheses`)
		}
	}
	if len(c.RootCAs) > 0 && !x509.NewCertPool().AppendCertsFromPEM(c.RootCAs) {
		fault("RootCAs", fmt.Sprintf("%d bytes without a certificate", len(c.RootCAs)), "PEM, with -----BEGIN CERTIFICATE-----")
	}
	// PostgreSQL cuts a longer name with no more than a notice, and the cut name would then be missed by whoever looks for it.
	if len(c.ApplicationName) > 63 {
		fault("ApplicationName", fmt.Sprintf("%q (%d bytes)", c.ApplicationName, len(c.ApplicationName)), "at most 63 bytes")
	}
	return errors.Join(errs...)
}

// oneOf says which values are right.
func oneOf[T ~string](values []T) string {
	var b strings.Builder
	for i, v := range values {
		switch i {
		case 0:
		case len(values) - 1:
			b.WriteString(" or ")
		default:
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%q", v)
	}
	return b.String()
}

// execModeIsolation is logged once. A reset travels in front of the next flight, and with batches that the pool does not see
// nobody knows which flight that is, nor what they leave behind.
const execModeIsolation = "lmipool: in QueryExecModeExec pgx sends batches past the pool: what an invocation leaves in a session is not taken away (Isolation is off), and InTx sends BEGIN by itself." +
	" Set default_query_exec_mode to cache_describe, which needs no prepared statements either, or Isolation to \"off\""

// ridesWith reports whether reads may ride where pgx has this mode: it is for such that what they are answered is known to be pgx's own.
func (c *Config) ridesWith(mode pgx.QueryExecMode, pooled bool) bool {
	return mode == pgx.QueryExecModeCacheStatement || mode == pgx.QueryExecModeCacheDescribe && (pooled || c.Upstream.shares())
}

// cancelWait is CancelWait, for what needs a bound also without.
func (c *Config) cancelWait() time.Duration {
	if c.CancelWait < 0 {
		return defaultCancelWait
	}
	return c.CancelWait
}

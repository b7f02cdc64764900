package pool

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/internal/awshost"
	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/pgdial"
	"github.com/lmipool/lmipool/internal/safelog"
)

// Config has the settings of a pool. [github.com/lmipool/lmipool.Config] has the same fields, and describes each: its units, its default, and what a
// negative value means. Fields that pgxpool's Config has too have the same names and meanings. If a field has its zero value, the connection string's
// pool_* setting applies, else the default. A nil *Config means all defaults. [New] reads Config once; changing it later has no effect.
type Config struct {
	MaxConns     int32 // the most connections that the pool may have on the server
	MinConns     int32 // how many connections it keeps open after its first use
	MinIdleConns int32 // how many idle connections it keeps ready after its first use
	FleetBudget  int32 // how many connections all environments with the same role may have together

	MaxConnLifetime       time.Duration // how old a connection may get
	MaxConnLifetimeJitter time.Duration // the most that is added at random to a lifetime
	MaxConnIdleTime       time.Duration // how long a connection may be unused
	HealthCheckPeriod     time.Duration // the time between two rounds of housekeeping
	PingTimeout           time.Duration // bounds the ping of a connection that was idle
	ConnectTimeout        time.Duration // bounds one dial, and each of its hooks
	MaxWait               time.Duration // how long a caller without a deadline waits for a connection
	MaxQueue              int32         // how many callers may wait for a connection at the same time

	FairBy func(ctx context.Context) string `json:"-"` // says to whom a call belongs, such as a tenant or a route

	CancelWait time.Duration // how long a call whose ctx ends waits for the answer to its cancel request

	ReportRowsAfter   time.Duration // how long open Rows outside a scope are not logged
	ReportSlowAfter   time.Duration // how long a statement, or an invocation, may take before it is logged
	ReportIdleTxAfter time.Duration // how long an open transaction may do nothing before it is logged

	ApplicationName string // the end of the application_name that the server shows
	RootCAs         []byte `json:"-"` // certificates of authorities, in PEM, that may have signed the server's

	BeforeConnect func(context.Context, *pgx.ConnConfig) error         `json:"-"` // runs before each dial, and may change its configuration
	AfterConnect  func(context.Context, *pgx.Conn) error               `json:"-"` // runs once on each new connection
	PrepareConn   func(context.Context, *pgx.Conn) (bool, error)       `json:"-"` // runs before a connection is handed out
	AfterRelease  func(*pgx.Conn) bool                                 `json:"-"` // runs when a connection comes back
	BeforeClose   func(*pgx.Conn)                                      `json:"-"` // runs before a connection is closed
	ShouldPing    func(context.Context, pgxpool.ShouldPingParams) bool `json:"-"` // decides whether a connection is pinged before it is handed out

	Lanes         Switch   // how short reads run if no connection is idle
	LaneFunctions []string // functions that reads may call and still ride
	Isolation     Switch   // whether a session is reset before its next user gets it
	Upstream      Upstream // what is at the other end of the connections
	Rerun         Switch   // what happens to a ride whose connection is lost

	Tracer    pgx.QueryTracer `json:"-"` // is given to each connection
	Observers []any           `json:"-"` // hear of what happens in the pool
	Logger    *slog.Logger    `json:"-"` // gets a record of each failure in the background
	Plain     Switch          // if it is On, each call goes straight to pgxpool
}

// These defaults differ from pgxpool's. The root's Config says why.
const (
	defaultPingTimeout     = 2 * time.Second
	defaultConnectTimeout  = 10 * time.Second
	defaultCancelWait      = 100 * time.Millisecond
	defaultMaxQueue        = 4096
	defaultMaxWait         = 30 * time.Second
	defaultReportRowsAfter = time.Minute
	defaultIdleTxAfter     = time.Second
	defaultSlowAfter       = time.Second
	defaultPingAfter       = time.Second
)

// absurdConns is the largest MaxConns for which New logs no warning: few servers have a max_connections above 1000.
const absurdConns = 1000

// forever, a hundred years, stands for "never", since some of pgxpool's periods have no value for that.
const forever = 100 * 365 * 24 * time.Hour

// withDefaults returns a copy of c in which each unset field has px's value, which comes from the connection string, or else the default.
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
	if d.Upstream == "" || d.Upstream == UpstreamAuto {
		if d.Upstream = UpstreamDirect; pgdial.InAWS(px.ConnConfig, awshost.Proxy) {
			d.Upstream = UpstreamRDSProxy
		}
	}
	if d.Upstream == UpstreamRDSProxy {
		setDefault(&d.CancelWait, -1)
	}
	setDefault(&d.CancelWait, defaultCancelWait)
	setDefault(&d.MaxWait, defaultMaxWait)
	setDefault(&d.MaxQueue, defaultMaxQueue)
	setDefault(&d.ReportRowsAfter, defaultReportRowsAfter)
	setDefault(&d.ReportIdleTxAfter, defaultIdleTxAfter)
	setDefault(&d.ReportSlowAfter, defaultSlowAfter)
	for _, s := range d.switches() {
		setDefault(s.value, Auto)
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
	setDefault(&d.ShouldPing, func(_ context.Context, p pgxpool.ShouldPingParams) bool { return p.IdleDuration > defaultPingAfter })
	return d
}

// takeHooks copies the hooks of px that c does not set.
func (c *Config) takeHooks(px *pgxpool.Config) {
	setDefault(&c.BeforeConnect, px.BeforeConnect)
	setDefault(&c.AfterConnect, px.AfterConnect)
	setDefault(&c.PrepareConn, px.PrepareConn)
	setDefault(&c.AfterRelease, px.AfterRelease)
	setDefault(&c.BeforeClose, px.BeforeClose)
	setDefault(&c.ShouldPing, px.ShouldPing)
}

// setDefault sets *field to the first of values that is not zero, unless *field is set already.
func setDefault[T any](field *T, values ...T) {
	for _, v := range values {
		if reflect.ValueOf(field).Elem().IsZero() {
			*field = v
		}
	}
}

// validate returns every fault of c in one error, each with the field, its value and what would be right.
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
	return errors.Join(errs...)
}

// oneOf lists values for an error text: "a", "b" or "c".
func oneOf[T ~string](values []T) string {
	list := strings.ReplaceAll(strings.Trim(fmt.Sprintf("%q", values), "[]"), `" "`, `", "`)
	last := strings.LastIndex(list, ", ")
	return list[:last] + " or " + list[last+len(", "):]
}

// execModeIsolation is the warning for a pool whose Isolation is off because of QueryExecModeExec. The pool does not see batches in that mode, so it
// cannot tell what they leave behind, and a reset may come too late.
const execModeIsolation = "lmipool: in QueryExecModeExec pgx sends batches past the pool: what an invocation leaves in a session is not taken away (Isolation is off), and InTx sends BEGIN by itself." +
	" Set default_query_exec_mode to cache_describe, which needs no prepared statements either, or Isolation to \"off\""

// ridesWith reports whether a ride is known to get the answer that pgx gives in mode. If pooled is true, the connection leads to a pooler.
func (c *Config) ridesWith(mode pgx.QueryExecMode, pooled bool) bool {
	return mode == pgx.QueryExecModeCacheStatement || mode == pgx.QueryExecModeCacheDescribe && (pooled || c.Upstream.shares())
}

// cancelWait returns CancelWait, or its default if that is negative: a rollback after ctx has ended needs a bound in any case.
func (c *Config) cancelWait() time.Duration {
	if c.CancelWait < 0 {
		return defaultCancelWait
	}
	return c.CancelWait
}

// Switch turns a part of the pool on or off. It is the type of fields of Config, whose documentation says what Auto means. The zero value means Auto.
type Switch string

// The values of a Switch.
const (
	// Auto, or "", lets the pool decide: the part is on where it is of use and possible.
	Auto Switch = "auto"
	// On is for code that relies on the part. If another setting makes the part impossible, [New] returns an error that names both settings, where
	// Auto would turn the part off. If only a connection shows that the part is impossible, that is logged.
	On Switch = "on"
	// Off turns the part off.
	Off Switch = "off"
	// Shadow is for Config.Lanes only, to find out what lanes would do: reads that would ride are counted ([LaneStat.ShadowRides]) and run alone.
	Shadow Switch = "shadow"
)

// Upstream says what is at the other end of the pool's connections: a server, or a pooler that gives each transaction any of its server connections.
//
// Behind a pooler in transaction mode each transaction may be in another session, which other clients use before and after it. So the pool prepares
// nothing by name there: default_query_exec_mode defaults to cache_describe, which describes each statement once and then needs one round trip, as
// prepared statements do, and gives the same results. Isolation is off, since a reset could run in another client's session. Other clients of the
// pooler meet what an invocation leaves in a session: use SET LOCAL, in a transaction. Reads ride, each with its own guard, and with the search_path
// that another client may have left. AfterConnect may register types, but a SET in it holds in one of many sessions only. LISTEN, temporary tables,
// session-level advisory locks and cursors WITH HOLD need a direct connection.
type Upstream string

// These are the values of Upstream. The zero value means UpstreamAuto.
const (
	// UpstreamAuto is UpstreamRDSProxy if a host of the connection string has a name of RDS Proxy's form. Otherwise each new connection is asked
	// first which server process answers. If it is the process that was named at login, there is no pooler (or only a TCP proxy), and the connection
	// is treated as with UpstreamDirect.
	//
	// If it is another process, there is a pooler (PgBouncer, or RDS Proxy behind a CNAME). That is logged once, and the connection is treated as
	// with UpstreamPgBouncer, except that Isolation stays on, since the pooler may be in session mode. A reset could run in another client's session,
	// so a connection whose session may have something left in it is closed instead; in session mode the pooler then cleans the session (PgBouncer's
	// server_reset_query). This costs a new connection to the pooler each time: set UpstreamDirect for a pooler in session mode. If the pool notices
	// that sessions are shared, it turns Isolation off and logs that once.
	UpstreamAuto Upstream = "auto"
	// UpstreamDirect is a PostgreSQL server, or a pooler in session mode. The pool does not look for a pooler.
	UpstreamDirect Upstream = "direct"
	// UpstreamRDSProxy is Amazon RDS Proxy. Nothing that the pool itself sends pins a session. SET, a statement of more than 16 KB, and the other
	// cases in AWS's documentation pin it. RDS Proxy takes no cancel requests, so Config.CancelWait defaults to -1, and a cancelled statement may run
	// on: give the role a statement_timeout (ALTER ROLE ... SET). Lanes are off unless Config.Lanes is On, since nobody has tested them there.
	UpstreamRDSProxy Upstream = "rds-proxy"
	// UpstreamPgBouncer is PgBouncer in transaction mode, of any version. From 1.21 on it can keep prepared statements (max_prepared_statements). To
	// use them, set default_query_exec_mode=cache_statement in the connection string. PgBouncer accepts the startup parameters application_name,
	// client_encoding, DateStyle and TimeZone, and others only if its ignore_startup_parameters names them.
	UpstreamPgBouncer Upstream = "pgbouncer"
)

// shares reports whether other clients use the same sessions as the pool.
func (u Upstream) shares() bool { return u == UpstreamRDSProxy || u == UpstreamPgBouncer }

// switchField is a field of Config that is a Switch.
type switchField struct {
	name   string
	value  *Switch
	values []Switch // the values that are allowed
}

// switches returns the Switch fields of c, each with the values that it may have. Plain, which turns the others off, is the last.
func (c *Config) switches() []switchField {
	return []switchField{
		{"Lanes", &c.Lanes, []Switch{Auto, On, Off, Shadow}},
		{"Isolation", &c.Isolation, []Switch{Auto, On, Off}},
		{"Rerun", &c.Rerun, []Switch{Auto, On, Off}},
		{"Plain", &c.Plain, []Switch{Auto, On, Off}},
	}
}

// settle turns off the parts of the pool that other settings make impossible, as far as that is known before the first connection. It returns an error
// for each such part that is On or Shadow. If there is a pooler upstream, settle adapts cc to it.
func (c *Config) settle(cc *pgx.ConnConfig) error {
	if c.Upstream.shares() {
		pgdial.ForPooler(cc, c.Upstream == UpstreamRDSProxy, c.Logger)
	}
	var errs []error
	lanes, isolation := c.impossible(cc.DefaultQueryExecMode)
	off := func(field string, s *Switch, why string) {
		if why == "" {
			return
		}
		if *s == On || *s == Shadow {
			errs = append(errs, fmt.Errorf("lmipool: Config.%s is %q: want %q or %q, since %s", field, *s, Auto, Off, why))
		}
		*s = Off
	}
	if c.Isolation == Auto && !c.Upstream.shares() && c.Plain != On && isolation != "" {
		c.Logger.Warn(execModeIsolation)
	}
	if why := c.noFleet(); why != "" && c.FleetBudget > 0 {
		errs = append(errs, fmt.Errorf("lmipool: Config.FleetBudget is %d: want 0, since %s", c.FleetBudget, why))
	}
	off("Lanes", &c.Lanes, lanes)
	off("Isolation", &c.Isolation, isolation)
	if c.Plain == On {
		off("Rerun", &c.Rerun, plainIsOn)
	} else if c.Lanes == Off {
		off("Rerun", &c.Rerun, `Lanes is "off" here, and only a read that may ride runs once more`)
	} else if c.Rerun == Auto {
		c.Rerun = On
	}
	return errors.Join(errs...)
}

const plainIsOn = `Plain is "on", which turns off all that lmipool adds`

// noFleet returns why the pool cannot have a share of a fleet's budget. It returns "" if it can.
func (c *Config) noFleet() string {
	switch {
	case c.Plain == On:
		return plainIsOn
	case c.Upstream.shares():
		return fmt.Sprintf("Upstream is %q, whose own connections are what the server counts", c.Upstream)
	}
	return ""
}

// impossible returns why statements cannot ride with mode, and why sessions cannot be reset with it. Each reason is "" if they can.
func (c *Config) impossible(mode pgx.QueryExecMode) (lanes, isolation string) {
	if c.Plain == On {
		return plainIsOn, plainIsOn
	}
	switch {
	case c.PrepareConn != nil:
		lanes = "PrepareConn is set, which must run before each statement, and rides share a connection"
	case !c.ridesWith(mode, false):
		lanes = fmt.Sprintf("default_query_exec_mode is %s, in which a ride's answer may differ from pgx's", mode)
	case c.Upstream == UpstreamRDSProxy && c.Lanes != On && c.Lanes != Shadow:
		lanes = "lanes are not tested behind RDS Proxy"
	}
	switch {
	case c.Upstream.shares():
		isolation = fmt.Sprintf("Upstream is %q, which shares its sessions with others", c.Upstream)
	case mode == pgx.QueryExecModeExec:
		isolation = "default_query_exec_mode is exec, in which pgx sends batches past the pool"
	}
	return lanes, isolation
}

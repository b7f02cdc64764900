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

// Config has the settings of a pool. Fields that pgxpool's Config has too have the same names and meanings. If a field has its zero value, the
// connection string's pool_* setting applies, else the default that the field's documentation names. A nil *Config means all defaults. [New] reads
// Config once; changing it later has no effect.
type Config struct {
	// MaxConns is the most connections that the pool may have on the server; a connection that is being closed counts too. The pool starts with one,
	// and dials another only when waiting in the queue would cost more time than dialing. Raise it when [Stat.EmptyAcquireWaitTime] grows while the
	// database has room. Defaults to the connection string's pool_max_conns. If that is not set, lmipool.Open takes a quarter of the concurrency of a
	// managed instance, from 2 to 64, and 2 on any other Lambda. Elsewhere the default is the greater of 4 and the number of CPUs, as in pgxpool.
	MaxConns int32

	// MinConns is how many connections the pool keeps open after its first use. Negative means 0, whatever the connection string says. Defaults to 0.
	MinConns int32

	// MinIdleConns is how many idle connections the pool keeps ready after its first use, within MaxConns. Negative means none. Defaults to 0.
	MinIdleConns int32

	// FleetBudget is how many connections all environments with the same role may have together. Each pool counts the others about every 5 seconds, on a
	// connection that it has anyway, and holds at most FleetBudget divided by one more than their number, but at least one connection. So the pools of
	// several versions, functions and processes share one budget, and a new one finds room. Connections of the role that are not lmipool's are
	// subtracted. MaxConns, MinConns and MinIdleConns hold within the pool's share; [FleetStat] shows it. With a share of 1 an invocation cannot hold
	// two connections at once: what waits for the second in InTx gets [ErrNestedAcquire].
	//
	// If FleetBudget is 0, the role's CONNECTION LIMIT is the budget, if the role has one; if it has a lower one than FleetBudget, too. The limit is read
	// with each count, so ALTER ROLE changes it for all. The server itself refuses what is above it, except for superusers. Without such a limit nothing
	// refuses what environments that start at the same moment may open above the budget before they have counted each other.
	//
	// Negative means that only MaxConns bounds the pool. Behind a pooler, and with Plain, that is always so, and a FleetBudget above 0 is an error. If
	// only a connection shows that there is a pooler, that is logged.
	FleetBudget int32

	// MaxConnLifetime is how old a connection may get. An older one is closed as soon as nobody uses it. Negative means never. Defaults to 1 hour.
	MaxConnLifetime time.Duration

	// MaxConnLifetimeJitter is the most that is added at random to each connection's lifetime, so that not all connections are closed at the same
	// time. Negative means none. Defaults to a tenth of MaxConnLifetime (pgxpool: 0).
	MaxConnLifetimeJitter time.Duration

	// MaxConnIdleTime is how long a connection may be unused before it is closed. Negative means for ever. Defaults to 30 minutes.
	MaxConnIdleTime time.Duration

	// HealthCheckPeriod is the time between two rounds of housekeeping: connections that are too old or too long idle are closed, MinConns and
	// MinIdleConns are restored, and unread Rows are logged. Defaults to 1 minute.
	HealthCheckPeriod time.Duration

	// PingTimeout bounds the ping of a connection that was idle for more than a second. A connection that does not answer is replaced. Negative means
	// that only the caller's ctx bounds the ping, as in pgxpool: if the network is dead, the ping then takes all the caller's time. Defaults to 2
	// seconds.
	PingTimeout time.Duration

	// ConnectTimeout bounds one dial, TLS and authentication included, and each of its hooks. Defaults to the connection string's connect_timeout,
	// else to 10 seconds (pgxpool: 2 minutes). For hosts of AWS the default for the dial, without its hooks, is 2 seconds, as AWS advises. While the
	// server is away, the TCP part of a dial may take at most 1 second.
	//
	// If the timeout was set, no dial takes longer, and if the first dial of a pool gets no answer in time, its caller gets an error. If it is a
	// default, the pool waits for a server that accepts the TCP connection and then says nothing, as a paused Aurora Serverless does while it starts:
	// after each dial that the server does not answer in time, the next dial has twice the time, up to 30 seconds.
	ConnectTimeout time.Duration

	// MaxWait is how long a caller whose ctx has no deadline waits for a connection. After that the caller gets [ErrNoTime]. A caller with a deadline
	// is refused when too little of it is left for an answer. Negative means no bound. Defaults to 30 seconds: a failover of Aurora usually takes
	// less, and whoever called us is likely to wait longer.
	MaxWait time.Duration

	// MaxQueue is how many callers may wait for a connection at the same time. One more gets [ErrNoTime] at once. MaxQueue bounds memory: the
	// goroutine of a waiting caller needs 8 kB or more, with the data that it works on. Callers whose invocation holds a connection may wait all the same.
	// Negative means no bound. Defaults to 4096, which is more than an environment of Lambda has invocations.
	MaxQueue int32

	// FairBy returns a key that says to whom the call with ctx belongs, such as a tenant or a route. When the connections cannot do in time all that
	// is asked for, each key gets its part, so a key that asks for more cannot push out the others. FairBy is called only for callers who have to
	// wait. It may be called concurrently, and must not block. If it panics, the key is "". Defaults to none: then whoever sends most calls gets most
	// of the connections.
	FairBy func(ctx context.Context) string `json:"-"`

	// CancelWait is how long a call whose ctx ends while its statement runs alone waits for the server's answer to the cancel request. Usually the
	// answer comes within a few round trips: then the connection is kept. The call's error then has the ctx's error in its chain, or is nil if the
	// statement ended before it was cancelled. If no answer comes, the connection is given up, and [CancelStat.Lost] counts it. Make CancelWait
	// shorter if callers have no time to spare, and longer if the database is far away. Negative means that the connection is closed at once, as in
	// pgx. That always happens to a statement on the raw *pgx.Conn of a lease. Defaults to 100 milliseconds, and for UpstreamRDSProxy, which takes no
	// cancel requests, to -1.
	CancelWait time.Duration

	// ReportRowsAfter is how long Rows or BatchResults that were opened outside a scope may stay open before they are logged, once, with the stack
	// that opened them. Negative means never. Defaults to 1 minute.
	ReportRowsAfter time.Duration

	// ReportSlowAfter is how long a statement may take, its wait for a connection included, before it is logged, with the place in the code that called it. The
	// same bound holds for an invocation: it is logged with its account ([observe.Usage]) if it lasted that long and its statements, waits and open
	// transactions add up to that. An invocation that runs one text 50 times or more is logged as well. Texts are shown with their literals replaced by ?.
	// Negative means never. Defaults to 1 second, a third of the timeout that Lambda gives a function by default: a healthy statement is far below it.
	ReportSlowAfter time.Duration

	// ReportIdleTxAfter is how long a lease with an open transaction may do nothing before it is logged, with the stack that acquired it: an idle
	// transaction keeps its connection from other callers, holds its locks, and keeps the server from removing dead rows. The log line comes once, at
	// most half of ReportIdleTxAfter late, and again only after the lease was used. A lease whose *pgx.Conn the user has taken is not watched.
	// Negative means never. Defaults to 1 second.
	ReportIdleTxAfter time.Duration

	// ApplicationName is the end of the application_name that the server shows, unless the connection string or PGAPPNAME names one. The whole name is
	// "lmipool/<id>/<name>", cut at 63 bytes. The random id is this pool's: it tells the environments of a fleet apart, whoever sets the name. Config of
	// the pool returns the whole name. Defaults to none; lmipool.Open takes the function's name.
	ApplicationName string

	// RootCAs are certificates of authorities, in PEM, that may have signed the server's certificate. They count in addition to those of sslrootcert,
	// or to the system's if there is no sslrootcert. Embed (go:embed) the bundle that AWS publishes for RDS and Aurora, or the one of your own
	// authority. With RootCAs, and for hosts of AWS always, sslmode defaults to verify-full. The sslmode of the connection string, or PGSSLMODE, wins
	// over that default; a warning is logged if it is weaker. Defaults to none.
	RootCAs []byte `json:"-"`

	// The hooks have pgxpool's signatures and meanings, and may be called concurrently. A panic in a hook is logged, and the hook counts as failed.
	//
	// BeforeConnect runs before each dial, with a copy of the connection's configuration that it may change (password, DialFunc, TLSConfig,
	// DefaultQueryExecMode ...). Its ctx ends when the dial's time is over. If the server refuses the password, BeforeConnect is called again; if it
	// gives another password, that one is tried before the dial counts as failed.
	BeforeConnect func(context.Context, *pgx.ConnConfig) error `json:"-"`
	// AfterConnect runs once on each new connection, for example to register types or to SET.
	AfterConnect func(context.Context, *pgx.Conn) error `json:"-"`
	// PrepareConn runs before a connection is handed out. With Isolation, each SQL statement of PrepareConn or AfterRelease counts as having left
	// something in the session, so the next user pays for a reset. Its four outcomes are pgxpool's: false closes the connection; an error is returned
	// to the caller; false without an error makes the pool try another connection.
	PrepareConn func(context.Context, *pgx.Conn) (bool, error) `json:"-"`
	// AfterRelease runs when a connection comes back; if it returns false, the connection is closed.
	AfterRelease func(*pgx.Conn) bool `json:"-"`
	// BeforeClose runs before a connection is closed, unless the pool had to cut it off because its user did not give it back.
	BeforeClose func(*pgx.Conn) `json:"-"`
	// ShouldPing decides whether a connection is pinged before it is handed out. Defaults to: idle for more than 1 second.
	ShouldPing func(context.Context, pgxpool.ShouldPingParams) bool `json:"-"`

	// Lanes says how short reads run if no connection is idle. With Auto they ride together: the next connection that comes free takes up to 32 of
	// the queued reads and sends them as one pipeline, each as its own transaction (docs/lanes.md says which reads may ride). PrepareConn makes that
	// impossible, since it must run before each statement; so does a default_query_exec_mode other than cache_statement, since a ride's answer may
	// then differ from pgx's. In both cases Auto means Off: each read runs alone, and On and Shadow are errors. For UpstreamRDSProxy Auto means Off;
	// for other poolers see Upstream.
	Lanes Switch

	// LaneFunctions are functions, "name" or "schema.name", that reads may call and still ride: they must have no effect but their result. Built-in
	// functions that are not volatile need not be named. A name without a schema means the functions of that name in every schema. Isolation, too,
	// relies on these functions to leave nothing behind in the session. Defaults to none.
	LaneFunctions []string

	// Isolation says whether what an invocation leaves behind in a session (settings, roles, temporary tables, channels, advisory locks, cursors,
	// statements prepared in SQL, the values of sequences) is taken away before the next invocation gets the connection. With Auto the session is
	// reset before its next user's first statement runs, unless it is certain that nothing was left behind. That is certain for transaction control,
	// and for reads and writes on tables without triggers that call only functions known to leave nothing. Any other statement, such as one that
	// calls a function of your own, counts as having left something. A reset costs the next user 120 to 270 µs and no round trip. Prepared
	// statements, and what AfterConnect has set, stay. With Off nothing is reset, as in pgxpool.
	//
	// Isolation is impossible behind a pooler in transaction mode (see Upstream), where another client may have the session before it is reset, and
	// in QueryExecModeExec, in which the pool does not see the statements of pgx's batches. Then Auto means Off, for QueryExecModeExec with a
	// warning, and On is an error.
	Isolation Switch

	// Upstream says what is at the other end of the connections: the server, or a pooler that shares its sessions between clients, such as PgBouncer in
	// transaction mode. Defaults to UpstreamAuto, which recognises RDS Proxy by its host name, and other poolers when it connects.
	Upstream Upstream

	// Rerun says what happens to a ride whose connection is lost before its answer has come. With Auto the read runs once more, alone: a read that
	// may ride has no effect, so to run it twice does no harm. With Off it fails. On is the same as Auto, except that it is an error if Lanes are off.
	Rerun Switch

	// Tracer is given to each connection. If it is a pgxpool.AcquireTracer or ReleaseTracer, the pool calls it for that too. Defaults to none.
	Tracer pgx.QueryTracer `json:"-"`

	// Observers hear of what happens in the pool: each is a value with one or more of the methods that the interfaces of package observe have. A value that
	// has none of them is an error. Defaults to none.
	Observers []any `json:"-"`

	// Logger gets a record of each failure in the background, and of what invocations left behind. If its slog.Handler panics, only that record is
	// lost. Defaults to slog.Default.
	Logger *slog.Logger `json:"-"`

	// Plain, if it is On, turns off all that lmipool adds: each call goes straight to pgxpool, with MaxConns and the hooks, without scopes and
	// without lmipool's queue. Then it is an error if another switch is On, except if the code has set that switch and the variable LMIPOOL_PLAIN has
	// set Plain. Auto means Off.
	Plain Switch
}

// These defaults differ from pgxpool's. The comment of each Config field says why.
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

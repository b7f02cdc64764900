package lmipool

import (
	"context"
	"log/slog"
	"reflect"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/lambdaenv"
	"github.com/lmipool/lmipool/pool"
)

// Config has the fields of [pool.Config], and those of [Handler]. Its zero value, and a nil *Config, are right on Lambda.
// [Open] says who wins when a setting has several sources. It is read once: changing it later has no effect.
type Config struct {
	// MaxConns is the ceiling: the pool never has more connections than this on the server, those that are still being closed included. Raise it when
	// [pool.Stat.EmptyAcquireWaitTime] grows while the database has room. Defaults to the connection string's pool_max_conns, else to the greater of 4 and
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
	// nil if the statement was quicker. Otherwise the connection is given up, and [pool.CancelStat.Lost] says so. Shorten it if callers have no time
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

	// StandIn says whether Handler answers for a handler that does not return
	// before its deadline. Auto is On on managed instances and Off elsewhere: an
	// on-demand environment resets itself, and a reply in the handler's place would
	// freeze it in the middle of its work. On answers there, too.
	StandIn Switch

	// CatchPanics says whether a handler's panic is an error reply and the process
	// lives. Auto is On on managed instances, where others are in flight, and Off
	// elsewhere, where a panic ends the process, as without lmipool.
	CatchPanics Switch

	// Margin is how long before the invocation's deadline the handler's ctx ends,
	// at most half the time there is. Raise it if handlers need longer to give up.
	// Defaults to a sixth of the time there is, from 100 ms to 1 s, and to more while
	// the CPU is so short that ReplyMargin grows. If that is found out only after the
	// ctx was made, it is cancelled (context.Canceled) before its deadline.
	Margin time.Duration

	// ReplyMargin is how long before the deadline a handler is answered for, at
	// most Margin. A late reply ends the process, so this must cover the way to the
	// Runtime API on a loaded machine. Defaults to half of Margin, and to four times
	// [HandlerStat.Lateness] if that is more, at most a third of the time there is
	// and 3 s.
	ReplyMargin time.Duration

	// MaxOverruns is how many handlers may run on after their deadline at once
	// before the process stands down. Defaults to a quarter of the environment's
	// concurrency, at least 1.
	MaxOverruns int32

	// MaxPanics is how many panics within 10 seconds are survived before the
	// process stands down. Defaults to half of the environment's concurrency, at
	// least 10.
	MaxPanics int32

	// OnOverrun makes the reply for a handler that is answered for; an API answers
	// 504 here. It must return quickly (in half of ReplyMargin), out must be of the
	// handler's result type (under [Wrap] of any, which is encoded), and in is still
	// the handler's. Defaults to an *OverrunError.
	OnOverrun func(ctx context.Context, in any) (out any, err error)

	// OnPanic makes the reply for a handler that panicked with recovered; out is as
	// OnOverrun's. The panic is logged also if it does. Defaults to Lambda's error
	// JSON with type, message and stack.
	OnPanic func(ctx context.Context, in, recovered any) (out any, err error)
}

// settle decides what the field's documentation leaves to the environment.
func (c *Config) settle(env lambdaenv.Env) {
	managed := On
	if c.Plain == On || env.Kind != lambdaenv.ManagedInstances {
		managed = Off
	}
	for _, s := range []*Switch{&c.StandIn, &c.CatchPanics} {
		if c.Plain == On || *s == Auto || *s == "" {
			*s = managed
		}
	}
	if c.MaxOverruns == 0 {
		c.MaxOverruns = int32(max(1, env.MaxConcurrency/4))
	}
	if c.MaxPanics == 0 {
		c.MaxPanics = int32(max(10, env.MaxConcurrency/2))
	}
}

// forPool is the part of c that package pool reads.
func (c *Config) forPool() *pool.Config {
	var p pool.Config
	each(&p, c, func(pools, own reflect.Value) { pools.Set(own) })
	return &p
}

// fromPool is c with p's fields.
func (c Config) fromPool(p *pool.Config) *Config {
	each(p, &c, func(pools, own reflect.Value) { own.Set(pools) })
	return &c
}

// each calls f for each field of p, and that of c's of the same name.
func each(p *pool.Config, c *Config, f func(pools, own reflect.Value)) {
	pools, own := reflect.ValueOf(p).Elem(), reflect.ValueOf(c).Elem()
	for i := range pools.NumField() {
		f(pools.Field(i), own.FieldByName(pools.Type().Field(i).Name))
	}
}

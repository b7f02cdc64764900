package pool

import (
	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/pgdial"
)

// Upstream says what is at the other end of the pool's connections: a server, or a pooler that gives each transaction any of its server connections.
//
// Behind a pooler in transaction mode each transaction may be in another session, which other clients use before and after it. So the pool prepares
// nothing by name there: default_query_exec_mode defaults to cache_describe, which describes each statement once and then needs one round trip, as
// prepared statements do, and gives the same results. Isolation is off, since a reset could run in another client's session. What an invocation
// leaves in a session stays there, and other clients of the pooler meet it: use SET LOCAL, in a transaction. Reads ride;
// each is parsed anew and has its own guard. If another client has left a search_path in the session, the reads' names are resolved with
// it. AfterConnect may register types; a SET of AfterConnect's holds in one of many sessions only. LISTEN, temporary tables, session-level advisory
// locks and cursors WITH HOLD need a direct connection.
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
	// UpstreamRDSProxy is Amazon RDS Proxy. Nothing that the pool itself sends pins a session; SET, a statement of more than 16 KB, and the other
	// cases in AWS's documentation do. RDS Proxy takes no cancel requests, so Config.CancelWait defaults to -1, and a cancelled statement may run on:
	// give the role a statement_timeout (ALTER ROLE ... SET). Lanes are off unless Config.Lanes is On, since pipelines through RDS Proxy are not
	// tested.
	UpstreamRDSProxy Upstream = "rds-proxy"
	// UpstreamPgBouncer is PgBouncer in transaction mode, of any version. From 1.21 on it can keep prepared statements (max_prepared_statements); to
	// use them, set default_query_exec_mode=cache_statement in the connection string. PgBouncer accepts the startup parameters application_name,
	// client_encoding, DateStyle and TimeZone, and others only if its ignore_startup_parameters names them.
	UpstreamPgBouncer Upstream = "pgbouncer"
)

// of returns u, or for UpstreamAuto the kind that the names of cc's hosts show.
func (u Upstream) of(cc *pgx.ConnConfig) Upstream {
	switch {
	case u != UpstreamAuto:
		return u
	case pgdial.IsRDSProxy(cc):
		return UpstreamRDSProxy
	}
	return UpstreamDirect
}

// shares reports whether other clients use the same sessions as the pool.
func (u Upstream) shares() bool { return u == UpstreamRDSProxy || u == UpstreamPgBouncer }

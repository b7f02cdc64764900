package pool

import (
	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/pgdial"
)

// Upstream says what is at the other end of the pool's connections: a server, or a pooler that gives each transaction a server connection that is
// free.
//
// Behind a pooler in transaction mode each transaction may be in another session, which other clients use before and after it. So the pool prepares
// nothing there by name: unless the connection string names a default_query_exec_mode, that is cache_describe, which describes each statement once
// and then needs one round trip, as prepared statements do, and gives the same results. Isolation is off: a reset would meet another client's
// session. The pool cannot take away what an invocation leaves in a session there, and the pooler passes it on to others: use SET LOCAL, in a
// transaction. Reads ride lanes if the server is PostgreSQL 16 or later, each with its own guard and parsed anew; a search_path that another client
// has left in the session decides what their names mean. AfterConnect may register types; what it sets is set in one session of many. LISTEN,
// temporary tables, session-level advisory locks and cursors WITH HOLD need a direct connection.
type Upstream string

// The kinds. The zero value means UpstreamAuto.
const (
	// UpstreamAuto is UpstreamRDSProxy if a host of the connection string has the name of one. Otherwise each new connection is asked, before
	// anything else, which server process answers it. If that is the process that was named at login there is no pooler, as behind a plain TCP proxy,
	// and the connection is treated as with UpstreamDirect.
	//
	// If it is another process there is a pooler (PgBouncer, or RDS Proxy behind a CNAME). That is logged once, and the connection is treated as with
	// UpstreamPgBouncer, except that Isolation stays on, since the pooler may be in session mode. A reset could meet another client's session, so a
	// connection that may have left something in its session is closed instead: in session mode the pooler cleans the session then (PgBouncer's
	// server_reset_query). This costs a new connection to the pooler each time; set UpstreamDirect for a pooler in session mode. If the session turns
	// out to be shared, Isolation is off from then on, which is logged once.
	UpstreamAuto Upstream = "auto"
	// UpstreamDirect is a PostgreSQL server, or a pooler in session mode. New connections are not asked.
	UpstreamDirect Upstream = "direct"
	// UpstreamRDSProxy is Amazon RDS Proxy. Nothing that the pool itself sends pins a session; SET, a statement of more than 16 KB, and what else
	// AWS's documentation names, do. It takes no cancel requests, so Config.CancelWait defaults to -1: give the role a statement_timeout (ALTER ROLE
	// ... SET). Lanes are off unless Config.Lanes is On: how the proxy treats a pipeline was not tried.
	UpstreamRDSProxy Upstream = "rds-proxy"
	// UpstreamPgBouncer is PgBouncer in transaction mode, of any version. From 1.21 on it can keep prepared statements (max_prepared_statements);
	// then default_query_exec_mode=cache_statement in the connection string uses them. Of startup parameters it takes application_name,
	// client_encoding, DateStyle and TimeZone; others only if its ignore_startup_parameters names them.
	UpstreamPgBouncer Upstream = "pgbouncer"
)

// of returns u. For UpstreamAuto it returns what cc's hosts tell.
func (u Upstream) of(cc *pgx.ConnConfig) Upstream {
	switch {
	case u != UpstreamAuto:
		return u
	case pgdial.IsRDSProxy(cc):
		return UpstreamRDSProxy
	}
	return UpstreamDirect
}

// shares reports whether other clients use the same sessions.
func (u Upstream) shares() bool { return u == UpstreamRDSProxy || u == UpstreamPgBouncer }

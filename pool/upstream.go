package pool

import (
	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/pgdial"
)

// Upstream says what is at the other end of the pool's connections: the server itself, or
// a pooler that gives each transaction whatever server connection is free.
//
// Behind a pooler in transaction mode the session is not this pool's. So nothing is prepared there by name: unless the connection string names a
// default_query_exec_mode, that is cache_describe, which describes each statement once and then needs one round trip, as with prepared statements,
// and has the same answers. Isolation is off: a reset would meet a session that somebody else has now. What an invocation sets in a session the
// pooler passes on to others, which is not ours to mend: use SET LOCAL, in a transaction. Reads ride lanes if the server is PostgreSQL 16 or later,
// each with its own guard and prepared anew; what somebody else has left as search_path in a session decides there what their names mean.
// AfterConnect may register types; what it sets is set in one session of many. LISTEN, temporary tables, session-level advisory locks and cursors
// WITH HOLD need a direct connection.
type Upstream string

// The kinds. The zero value means UpstreamAuto.
const (
	// UpstreamAuto is UpstreamRDSProxy if a host of the connection string has the name of one. Otherwise each new connection is asked, before
	// anything else, which server process answers it. If that is the one that was named at login there is no pooler, and it is treated as
	// UpstreamDirect. A plain TCP proxy is no pooler.
	//
	// If it is another one there is a pooler (PgBouncer, RDS Proxy behind a CNAME). That is logged once, and the connection is treated as with
	// UpstreamPgBouncer, but for Isolation: that stays on, since the pooler may be in session mode. As a reset could meet the session of somebody
	// else, a connection that may have left something in its session is closed instead: in session mode the pooler cleans the session then
	// (PgBouncer's server_reset_query). This costs a new connection to the pooler each time; say UpstreamDirect for a pooler in session mode. If the
	// session turns out to be shared, Isolation is off from then on, which is logged once.
	UpstreamAuto Upstream = "auto"
	// UpstreamDirect is a PostgreSQL server, or a pooler in session mode. Nobody is asked.
	UpstreamDirect Upstream = "direct"
	// UpstreamRDSProxy is Amazon RDS Proxy. Nothing that the pool itself says pins a session; SET, a statement of more than 16 KB, and what AWS's
	// documentation names further, do. It takes no cancel requests, so Config.CancelWait defaults to off: give the role a statement_timeout (ALTER
	// ROLE ... SET). Lanes are off unless Config.Lanes is On: what the proxy makes of a pipeline was not tried.
	UpstreamRDSProxy Upstream = "rds-proxy"
	// UpstreamPgBouncer is PgBouncer in transaction mode, of any version. From 1.21 on it can keep prepared statements (max_prepared_statements);
	// then default_query_exec_mode=cache_statement in the connection string uses them. Of startup parameters it takes application_name,
	// client_encoding, DateStyle and TimeZone; others only if its ignore_startup_parameters names them.
	UpstreamPgBouncer Upstream = "pgbouncer"
)

// of is u, or what it is by cc's hosts.
func (u Upstream) of(cc *pgx.ConnConfig) Upstream {
	switch {
	case u != UpstreamAuto:
		return u
	case pgdial.IsRDSProxy(cc):
		return UpstreamRDSProxy
	}
	return UpstreamDirect
}

// shares reports whether sessions are shared with others behind our back.
func (u Upstream) shares() bool { return u == UpstreamRDSProxy || u == UpstreamPgBouncer }

package pool

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/pgdial"
)

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

package pool

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/fleet"
)

// isRenamed reports whether a hook or a user has changed the application_name of c's session to one without the pool's id. A session that may be another
// client's is left as it is.
func (c *conn) isRenamed() bool {
	return c.reach.Own() && !c.p.dialer.id.IsIn(c.pg.PgConn().ParameterStatus(appName))
}

// errNotRenamed ends a dial for which rename has returned false.
var errNotRenamed = errors.New("lmipool: application_name could not be set after AfterConnect")

// rename puts the pool's id in front of the application_name that a hook or a user has set. It returns false if that failed.
func (d *dialer) rename(ctx context.Context, pc *pgconn.PgConn) bool {
	name := d.id.Name(pc.ParameterStatus(appName))
	return pc.ExecParams(ctx, "select pg_catalog.set_config('"+appName+"', $1, false)", [][]byte{[]byte(name)}, nil, nil, nil).Read().Err == nil
}

// named returns settings with the pool's id in front of the application_name, if settings has one.
func named(id fleet.ID, settings map[string]string) map[string]string {
	for n, value := range settings {
		if strings.EqualFold(n, appName) {
			settings = maps.Clone(settings)
			settings[n] = id.Name(value)
		}
	}
	return settings
}

type routeKey struct{}

// routed reports whether any ctx has a route. Until then no ctx is asked for one.
var routed atomic.Bool

// WithRoute returns a ctx for what runs on behalf of route, such as "orders.get". While a lease that was acquired with ctx, or a statement that ran alone
// with it, has a connection, the server shows "lmipool/<id>/<route>" as its application_name (pg_stat_activity, Performance Insights, the server's log), in
// place of the pool's own name. That costs no round trip: the name travels in front of the first statement, if it differs from the name that is shown. An
// idle connection shows the name of its last user.
//
// What rides keeps the pool's own name, since a flight has statements of many routes. Characters other than printable ASCII are shown as ?, and the name is
// cut at 63 bytes. Behind a pooler, and with Config.Plain, the server shows the pool's own name. An empty route is none.
func WithRoute(ctx context.Context, route string) context.Context {
	routed.Store(true)
	return context.WithValue(ctx, routeKey{}, strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' { // PostgreSQL shows such a character as ? or as \x and its code
			return '?'
		}
		return r
	}, route[:min(len(route), fleet.NameSize)]))
}

// routeName returns the application_name for a user with ctx, or "" for the session's own.
func (p *Pool) routeName(ctx context.Context) string {
	if !routed.Load() {
		return ""
	}
	route, _ := ctx.Value(routeKey{}).(string)
	if route == "" {
		return ""
	}
	return p.dialer.id.Name(route)
}

package pool

import (
	"context"
	"maps"
	"strings"

	"github.com/lmipool/lmipool/internal/fleet"
)

// appName is the setting by which the environments of a fleet are told apart.
const appName = "application_name"

// isRenamed reports whether a hook or a user has changed the application_name of c's session to one without the pool's id. A session that may be another
// client's is left as it is.
func (c *conn) isRenamed() bool {
	return c.reach.Own() && !c.p.dialer.id.IsIn(c.pg.PgConn().ParameterStatus(appName))
}

// rename puts the pool's id in front of the application_name that a hook or a user has set. It returns false if that failed.
func (c *conn) rename(ctx context.Context) bool {
	pc := c.pg.PgConn()
	name := c.p.dialer.id.Name(pc.ParameterStatus(appName))
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

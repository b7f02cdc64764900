package isolation

import (
	"strings"

	"github.com/lmipool/lmipool/internal/pgwire"
)

const appName = "application_name"

// route is the application_name that the server shows while a user with a route has the session.
type route struct {
	own   string // the session's application_name before label was set
	label string // the last one that was set for a user; "" if none was
	reset bool   // a reset was queued since: it takes label away, and pgx does not know yet
	due   bool   // the lease's first exchange is to show name
	name  string // "" is the session's own
}

// Show has the server show name as application_name, from the lease's first exchange on. If name is "", the server shows the session's own name.
func (u *Use) Show(name string) { u.s.route.due, u.s.route.name = true, name }

// show queues what Show has asked for in front of the exchange that comes now, if the server shows another name. It costs no round trip.
func (s *Session) show() {
	r := &s.route
	if !r.due {
		return
	}
	r.due = false
	name, now := r.name, s.PG.PgConn().ParameterStatus(appName)
	if r.reset {
		now, r.reset = r.own, false
	}
	labeled := r.label != "" && now == r.label
	if name == "" && labeled {
		name = r.own
	}
	if name == "" || name == now || !s.Reach.Own() { // behind a pooler the name could reach another session
		return
	}
	if !labeled {
		r.own = now
	}
	r.label = name
	s.Wire.QueueFirst(pgwire.Try("set application_name = '" + strings.ReplaceAll(name, "'", "''") + "'"))
}

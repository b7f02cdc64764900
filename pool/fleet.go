package pool

import (
	"context"
	"time"

	"github.com/lmipool/lmipool/internal/sched"
)

// A pool counts its fleet (package member) on connections that it has anyway: on a new one that owes a count, on one that has just come back, and, if a
// count is due and none comes back, on an idle one.

// fleetTick is how often the pool looks whether its share has changed with time, and whether a count is due.
const fleetTick = time.Second

// mustCount reports whether the fleet has to be counted on c before c's next user gets it.
func (c *conn) mustCount(now time.Time) bool { return c.p.member.Due(now) && !c.reach.Pooled() }

// landsNow reports whether a flight on c has to end, so that c comes back.
func (c *conn) landsNow() bool {
	now := time.Now()
	return c.expired(now) || c.mustCount(now)
}

// countIfDue counts the fleet on c if a count is due.
func (c *conn) countIfDue(ctx context.Context) {
	if c.mustCount(time.Now()) && c.clean() {
		_ = c.p.member.Poll(ctx, c.pg.PgConn()) // goHome sees whether c is closed
		if ctx.Err() != nil {
			c.unanswered()
		}
	}
}

// countIfOwed counts the fleet on c, a new connection, if the pool may not have c before a count. If that breaks c, it returns the error, and
// nobody may have c.
func (c *conn) countIfOwed() error {
	s := c.p.sched.Stats()
	switch {
	case c.reach.Pooled():
		c.p.member.Behind()
	case c.p.member.Owes(s.Held + s.Idle + 1):
		ctx, cancel := context.WithTimeout(c.p.ctx, goodbyeTimeout)
		defer cancel()
		return c.p.member.Poll(ctx, c.pg.PgConn())
	}
	return nil
}

// tickFleet is called each fleetTick. It lets an idle connection count the fleet if a count is due.
func (p *Pool) tickFleet() {
	s, now := p.sched.Stats(), time.Now()
	if used, most, _ := p.sched.Places(); used > most {
		p.dialer.companions.Reset() // pgxpool closes those in use when they come back
	}
	if p.member.Short(now) {
		closeAll(p.sched.TakeIdle(func(place *sched.Conn, _, _ int) bool { return now.Sub(place.Since()) >= fleetTick }))
	}
	if !p.member.Tick(s.Held+s.Idle, s.Acquires, now) {
		return
	}
	if place := p.sched.Borrow(); place != nil {
		place.Owner.(*conn).tidyIdle()
	}
}

// refusedAsFull notes that the server was full for a dial. The pool gives back some of its connections, so that pools without one find room.
func (p *Pool) refusedAsFull() {
	s := p.sched.Stats()
	p.member.Refused(s.Held + s.Idle)
}

func (p *Pool) fleetStat() FleetStat {
	s := p.member.Stat()
	return FleetStat{
		Budget: int32(s.Budget), Share: int32(s.Share), Environments: int32(s.Environments), Others: int32(s.Others), Polls: s.Polls, Missed: s.Missed,
	}
}

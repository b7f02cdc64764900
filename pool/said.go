package pool

import (
	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/session"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// heardAll is what they have sent; nil if there are none.
func (c *conn) heardAll() *session.Heard {
	sent, recorded := c.wire.Recorded()
	if !recorded {
		return nil
	}
	s := session.Hear(sent, c.pg.PgConn())
	if c.wire.Strayed() {
		s.Doubt("a batch in exec mode, or pgconn's ExecBatch")
	}
	return s
}

// untold are the queries of the hooks' of which it is not known yet whether a function in them sets something.
func (c *conn) untold() (doubts []*catalog.Statement) {
	for _, st := range c.asks {
		if l := st.Leaves(c.base); l.Trace >= sqltext.AnyTrace || l.Other && l.Trace >= sqltext.SessionTrace {
			doubts = append(doubts, st)
		}
	}
	return doubts
}

// told reports whether a reset has set again all that the hooks have set. If not, it is logged once.
func (c *conn) told() bool {
	left := c.untold()
	if len(left) == 0 {
		return true
	}
	c.p.cannotReset(sqltext.Cut(left[0].SQL, 80))
	return false
}

// cannotReset logs, once, that sessions are closed that could otherwise be reset, because AfterConnect runs what may set anything.
func (p *Pool) cannotReset(runs string) {
	p.closesBecause("AfterConnect runs what may set any setting", "set each by SET or set_config with a literal name, or in the connection string (options=-c app.x=y)", "runs", runs)
}

// closesBecause logs that, once, with what to do instead.
func (p *Pool) closesBecause(why, instead string, args ...any) {
	p.closesSessions.Do(func() {
		p.log.Warn("lmipool: "+why+", so a connection whose session a user has changed is closed instead of reset; "+instead, args...)
	})
}

package pool

import (
	"github.com/lmipool/lmipool/internal/lane"
	"github.com/lmipool/lmipool/internal/sched"
)

// flight holds a connection for the rides of a lane, as a Lease does for its invocation.
type flight struct {
	hold
	lane.Flight
	on *conn
}

// newFlight makes an empty flight on c, which the scheduler fills with rides.
func newFlight(c *conn) *sched.Group {
	f := &flight{on: c}
	g := f.On(c.lane)
	g.Owner = f
	asks(&g.Holder, f)
	return g
}

// fly sends rides on f's connection as long as a ride is at the head of the queue. Then it gives the connection back.
func (f *flight) fly() {
	c, sql := f.on, f.Board()
	defer f.Strand() // whatever happens below, no caller waits for ever

	if ok, err := c.fit(c.p.ctx, nil); !ok || err != nil { // fit has closed c, or given c back
		return
	}
	f.lend(c)
	f.use.Begin(&c.session, nil, false)
	f.use.Show("")
	if !f.start() {
		c.release()
		return
	}
	whole := false
	if c.p.observers.WantReleases() {
		defer c.p.tellRelease(f.word(), f.since, c.server(), "", leaseReleased)
	}
	defer func() { // also after a panic: then whole is false, and nobody may get the connection
		switch was, _, _ := f.hold.end(leaseReleased); {
		case was != leaseActive: // Shutdown has closed it
		case whole:
			c.release()
		default:
			c.closeInBackground()
		}
	}()
	if !c.wire.Queued() && !c.lane.Intact() { // the setting has changed, and no reset is queued that would restore it
		c.p.log.Warn("lmipool: default_transaction_read_only is not what it was after AfterConnect, by a read or by the server's configuration; the connection is closed")
		return
	}
	if _, err := f.enter(sql); err == nil {
		whole = f.Fly()
		f.leave()
	}
}

// end closes f's connection. Shutdown calls it when its ctx has ended before f has.
func (f *flight) end(why leaseState) bool {
	was, _, _ := f.hold.end(why)
	if was == leaseActive {
		f.c.abort()
	}
	return was <= leaseActive
}

func (*flight) word() string { return "lane" }

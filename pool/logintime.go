package pool

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/pgerr"
)

// loginTime says how long a dial may take. It has two parts.
//
// A machine that lives accepts a TCP connection within a round trip, so that part is short. What comes then, TLS,
// authentication and the first word, takes as long as the server needs: one that had paused (Aurora Serverless) accepts at once
// and says nothing for 15 seconds and more. But one that hangs looks the same, and meanwhile another may have its name. So the
// first try is short, and each that ends in silence gives the next twice its time. Logins that go well but slowly keep it long.
//
// Who has said a ConnectTimeout has said what one dial takes, with all that belongs to it.
type loginTime struct {
	tcp, first, most time.Duration
	doubled          atomic.Int32 // how often first was doubled
}

// mostLogin is the longest that a login may take, unless the user says more. A server that hangs for longer keeps a dial
// for so long, though its name may lead to another by then.
const mostLogin = 30 * time.Second

// init is for a pool whose dials are to take connect, said by the user or a default.
func (l *loginTime) init(connect time.Duration, said bool) {
	l.tcp, l.first, l.most = connect, connect, mostLogin
	if said {
		l.most = connect
	}
}

// grows reports whether there is more time for a login after one that was silent.
func (l *loginTime) grows() bool { return l.most > l.first }

// next is how long the next dial may take.
func (l *loginTime) next() time.Duration {
	t := l.first
	for n := l.doubled.Load(); n > 0 && t < l.most; n-- {
		t *= 2
	}
	return min(t, l.most)
}

// silent notes that a login was silent for within, which was all its time.
func (l *loginTime) silent(within time.Duration) {
	if n := l.doubled.Load(); within == l.next() && within < l.most { // else another, at the same time, has said so
		l.doubled.CompareAndSwap(n, n+1)
	}
}

// took notes how long a login took. The next ones may take twice that.
func (l *loginTime) took(d time.Duration) {
	n := int32(0)
	for t := l.first; t < min(2*d, l.most); t *= 2 {
		n++
	}
	l.doubled.Store(n)
}

// silence is err, of a dial for c, or what it says of a server that is silent.
func (c *conn) silence(err error) error {
	var login *pgconn.ConnectError
	var out net.Error
	if l := &c.p.login; l.grows() && c.accepted.Load() != nil && errors.As(err, &login) &&
		(errors.Is(err, context.DeadlineExceeded) || errors.As(err, &out) && out.Timeout()) {
		l.silent(c.within)
		return pgerr.Silent(err, c.within, l.next())
	}
	return err
}

// hastyConnect bounds the TCP part of a dial when the server was lost or does not answer: a
// machine that is gone says nothing, and meanwhile its name may have come to stand for another.
// A living one answers within a round trip, unless the way to it is a longer one, through a
// tunnel say: so each fourth dial in a row has all its time.
const hastyConnect = time.Second

// accepting bounds dial, the TCP part, and notes on c that there was somebody.
func (p *Pool) accepting(c *conn, dial pgconn.DialFunc) pgconn.DialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		bound := p.login.tcp
		if p.health.hasty.Load() && p.sched.FailedDials()%4 != 3 {
			bound = min(bound, hastyConnect)
		}
		ctx, cancel := context.WithTimeout(ctx, bound)
		defer cancel()
		nc, err := dial(ctx, network, addr)
		if now := time.Now(); err == nil && c != nil && !c.opened.Load() {
			c.accepted.Store(&now)
		}
		return nc, err
	}
}

// loggedIn notes how long the login took that has just gone well.
func (c *conn) loggedIn() {
	if at := c.accepted.Load(); at != nil {
		c.p.login.took(time.Since(*at))
	}
}

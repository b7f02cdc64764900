package pgdial

import (
	"sync/atomic"
	"time"
)

// LoginTime says how long a dial may take. It has two parts.
//
// A machine that lives accepts a TCP connection within a round trip, so that part is short. What comes then, TLS,
// authentication and the first word, takes as long as the server needs: one that had paused (Aurora Serverless) accepts at once
// and says nothing for 15 seconds and more. But one that hangs looks the same, and meanwhile another may have its name. So the
// first try is short, and each that ends in silence gives the next twice its time. Logins that go well but slowly keep it long.
//
// Who has said a ConnectTimeout has said what one dial takes, with all that belongs to it.
type LoginTime struct {
	tcp, first, most time.Duration
	short            func() bool
	doubled          atomic.Int32 // how often first was doubled
}

// mostLogin is the longest that a login may take, unless the user says more. A server that hangs for longer keeps a dial
// for so long, though its name may lead to another by then.
const mostLogin = 30 * time.Second

// shortConnect bounds the TCP part of a dial that is to be short, since the server was lost or does not answer: a
// machine that is gone says nothing, and meanwhile its name may have come to stand for another.
// A living one answers within a round trip, unless the way to it is a longer one, through a
// tunnel say: so not all dials in a row may be short.
const shortConnect = time.Second

// NewLoginTime is for dials that are to take connect, said by the user or a default. short reports, for each, whether its TCP part
// is to be short.
func NewLoginTime(connect time.Duration, said bool, short func() bool) *LoginTime {
	l := &LoginTime{tcp: connect, first: connect, most: mostLogin, short: short}
	if said {
		l.most = connect
	}
	return l
}

// grows reports whether there is more time for a login after one that was silent.
func (l *LoginTime) grows() bool { return l.most > l.first }

// Next is how long the next dial may take.
func (l *LoginTime) Next() time.Duration {
	t := l.first
	for n := l.doubled.Load(); n > 0 && t < l.most; n-- {
		t *= 2
	}
	return min(t, l.most)
}

// connect is how long its TCP part may take.
func (l *LoginTime) connect() time.Duration {
	if l.short() {
		return min(l.tcp, shortConnect)
	}
	return l.tcp
}

// silent notes that a login was silent for within, which was all its time.
func (l *LoginTime) silent(within time.Duration) {
	if n := l.doubled.Load(); within == l.Next() && within < l.most { // else another, at the same time, has said so
		l.doubled.CompareAndSwap(n, n+1)
	}
}

// took notes how long a login took. The next ones may take twice that.
func (l *LoginTime) took(d time.Duration) {
	n := int32(0)
	for t := l.first; t < min(2*d, l.most); t *= 2 {
		n++
	}
	l.doubled.Store(n)
}

package pgdial

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/pgerr"
)

// Dial is one dial, in which pgx may try several hosts, and several times.
type Dial struct {
	login    *LoginTime
	within   time.Duration             // how long it may take, for each host
	accepted atomic.Pointer[time.Time] // when the server accepted the connection; nil: it has not yet
	over     atomic.Bool               // the dial has ended: what the configuration dials now are cancel connections
}

// NewDial returns a Dial that may take as long as l says.
func NewDial(l *LoginTime) *Dial { return &Dial{login: l} }

// Bound bounds the TCP part of the dials with cc, and makes d note whether a server accepts and logs in. cc's ValidateConnect must not be nil.
func (d *Dial) Bound(cc *pgx.ConnConfig) {
	d.within = cc.ConnectTimeout
	dial, validate := cc.DialFunc, cc.ValidateConnect
	cc.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		tcp := d.login.tcp
		if d.login.short() {
			tcp = min(tcp, shortConnect)
		}
		ctx, cancel := context.WithTimeout(ctx, tcp)
		defer cancel()
		nc, err := dial(ctx, network, addr)
		if now := time.Now(); err == nil && !d.over.Load() {
			d.accepted.Store(&now)
		}
		return nc, err
	}
	cc.ValidateConnect = func(ctx context.Context, pc *pgconn.PgConn) error {
		if at := d.accepted.Load(); at != nil {
			d.login.took(time.Since(*at)) // the login has just succeeded
		}
		return validate(ctx, pc)
	}
}

// Guard turns a panic of the user's code that cc calls into an error, while a connection is opened or cancelled. That code runs in goroutines of
// pgxpool's and pgx's, which do not recover, so a panic would end the process. OnNotice, OnNotification and OnPgError are guarded until the dial is
// over. From then on they run in the goroutine of a statement's caller, who gets the panic, or in one of the pool's, which recovers. catch runs f and
// returns its panic as an error. Not guarded are BuildFrontend and BuildContextWatcherHandler, what they return, and the Tracer.
func (d *Dial) Guard(cc *pgx.ConnConfig, catch func(what string, f func() error) error) {
	if f := cc.DialFunc; f != nil {
		cc.DialFunc = func(ctx context.Context, network, addr string) (c net.Conn, err error) {
			err = catch("DialFunc", func() (err error) { c, err = f(ctx, network, addr); return err })
			return c, err
		}
	}
	if f := cc.LookupFunc; f != nil {
		cc.LookupFunc = func(ctx context.Context, host string) (addrs []string, err error) {
			err = catch("LookupFunc", func() (err error) { addrs, err = f(ctx, host); return err })
			return addrs, err
		}
	}
	if f := cc.AfterNetConnect; f != nil {
		cc.AfterNetConnect = func(ctx context.Context, config *pgconn.Config, nc net.Conn) (net.Conn, error) {
			own := nc // returned if f panics, since pgx closes it
			err := catch("AfterNetConnect", func() (err error) { own, err = f(ctx, config, nc); return err })
			return own, err
		}
	}
	if f := cc.OAuthTokenProvider; f != nil {
		cc.OAuthTokenProvider = func(ctx context.Context) (token string, err error) {
			err = catch("OAuthTokenProvider", func() (err error) { token, err = f(ctx); return err })
			return token, err
		}
	}
	if f := cc.ValidateConnect; f != nil {
		cc.ValidateConnect = func(ctx context.Context, c *pgconn.PgConn) error {
			return catch("ValidateConnect", func() error { return f(ctx, c) })
		}
	}
	if f := cc.Config.AfterConnect; f != nil {
		cc.Config.AfterConnect = func(ctx context.Context, c *pgconn.PgConn) error {
			return catch("pgconn's AfterConnect", func() error { return f(ctx, c) })
		}
	}
	dialing := func(what string, f func()) {
		if d.over.Load() {
			f()
			return
		}
		_ = catch(what, func() error { f(); return nil })
	}
	if f := cc.OnNotice; f != nil {
		cc.OnNotice = func(c *pgconn.PgConn, n *pgconn.Notice) { dialing("OnNotice", func() { f(c, n) }) }
	}
	if f := cc.OnNotification; f != nil {
		cc.OnNotification = func(c *pgconn.PgConn, n *pgconn.Notification) { dialing("OnNotification", func() { f(c, n) }) }
	}
	if f := cc.OnPgError; f != nil {
		cc.OnPgError = func(c *pgconn.PgConn, e *pgconn.PgError) (keep bool) {
			dialing("OnPgError", func() { keep = f(c, e) })
			return keep
		}
	}
}

// Over ends d. err is the dial's error, or nil. Over returns err, or an error around it that says that the server was silent.
func (d *Dial) Over(err error) error {
	d.over.Store(true)
	var login *pgconn.ConnectError
	var out net.Error
	if l := d.login; l.grows() && d.accepted.Load() != nil && errors.As(err, &login) &&
		(errors.Is(err, context.DeadlineExceeded) || errors.As(err, &out) && out.Timeout()) {
		l.silent(d.within)
		return pgerr.Silent(err, d.within, l.Next())
	}
	return err
}

// LoginTime says how long a dial may take, in two parts. A machine that runs accepts a TCP connection within a round trip, so that part is short.
// TLS, authentication and the first answer take as long as the server needs: one that was paused (Aurora Serverless) accepts at once and then sends
// nothing for 15 seconds and more. But a server that hangs looks the same, and its name may lead to another server meanwhile. So the first login has
// a short time, and each login that gets no answer gives the next one twice its time. Logins that succeed slowly keep the time long. If the user has
// set ConnectTimeout, that is the time for one whole dial.
type LoginTime struct {
	tcp, first, most time.Duration
	short            func() bool
	doubled          atomic.Int32 // how often first was doubled
}

const (
	// mostLogin is the longest that a login may take, unless the user allows more. A server that hangs keeps a dial for so long, although its name
	// may lead to another server by then.
	mostLogin = 30 * time.Second

	// shortConnect bounds the TCP part of a dial that is to be short, because the server was lost or does not answer: a machine that is gone sends
	// no answer, and its name may lead to another machine by now. A machine that runs answers within a round trip. Through a tunnel, for example, a
	// round trip may take longer than shortConnect, so not all dials in a row may be short.
	shortConnect = time.Second
)

// NewLoginTime returns a LoginTime for dials that may take connect. said: the user has set connect, so it never grows. short reports, for each dial,
// whether its TCP part is to be short.
func NewLoginTime(connect time.Duration, said bool, short func() bool) *LoginTime {
	l := &LoginTime{tcp: connect, first: connect, most: mostLogin, short: short}
	if said {
		l.most = connect
	}
	return l
}

// grows reports whether a login that was silent gives the next one more time.
func (l *LoginTime) grows() bool { return l.most > l.first }

// Next returns how long the next dial may take.
func (l *LoginTime) Next() time.Duration {
	t := l.first
	for n := l.doubled.Load(); n > 0 && t < l.most; n-- {
		t *= 2
	}
	return min(t, l.most)
}

// silent notes that a login was silent for within, which was all its time.
func (l *LoginTime) silent(within time.Duration) {
	if n := l.doubled.Load(); within == l.Next() && within < l.most { // otherwise another dial has noted it at the same time
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

package pgdial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/sslmode"
)

// Dial is one dial, in which pgx may try several hosts, and several times.
type Dial struct {
	login    *LoginTime
	within   time.Duration             // how long it may take, for each host
	accepted atomic.Pointer[time.Time] // when the server accepted the connection; nil: it has not yet
	over     atomic.Bool               // the dial has ended: what the configuration dials now are cancel connections
	began    time.Time
	waits    atomic.Value // a string: what for
}

// NewDial returns a Dial that may take as long as l says.
func NewDial(l *LoginTime) *Dial {
	d := &Dial{login: l, began: time.Now()}
	d.waits.Store("BeforeConnect")
	return d
}

// Progress says what d waits for, and since when it runs. Any goroutine may call it.
func (d *Dial) Progress() string {
	return fmt.Sprintf("the dial that began %s ago waits for %s", time.Since(d.began).Round(time.Millisecond), d.waits.Load())
}

// Bound bounds the TCP part of the dials with cc, and makes d note whether a server accepts and logs in. cc's ValidateConnect must not be nil.
func (d *Dial) Bound(cc *pgx.ConnConfig) {
	var names []string
	for _, h := range sslmode.Hosts(&cc.Config) { // with sslmode=prefer a host is there twice
		if _, addr := pgconn.NetworkAddress(h.Host, h.Port); !slices.Contains(names, addr) {
			names = append(names, addr)
		}
	}
	server := strings.Join(names, ", ")
	d.waits.Store("an answer from " + server)
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
			d.waits.Store("the login at " + server + ", which has accepted the connection")
		}
		return nc, err
	}
	cc.ValidateConnect = func(ctx context.Context, pc *pgconn.PgConn) error {
		if at := d.accepted.Load(); at != nil {
			d.login.took(time.Since(*at)) // the login has just succeeded
			d.waits.Store("AfterConnect, or the pool's first statement, at " + server)
		}
		return validate(ctx, pc)
	}
}

// Guard turns a panic of the user's code that cc calls into an error, while a connection is opened or cancelled. That code runs in goroutines of
// pgxpool's and pgx's, which do not recover, so a panic would end the process. OnNotice, OnNotification and OnPgError are guarded until the dial is
// over. From then on they run in the goroutine of a statement's caller, who gets the panic, or in one of the pool's, which recovers. catch runs f and
// returns its panic as an error. Not guarded are BuildFrontend and BuildContextWatcherHandler, what they return, and the Tracer.
func (d *Dial) Guard(cc *pgx.ConnConfig, catch func(what string, f func() error) error) {
	dial, lookup := cc.DialFunc, cc.LookupFunc
	cc.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		return caught(catch, "DialFunc", nil, func() (net.Conn, error) { return dial(ctx, network, addr) })
	}
	cc.LookupFunc = func(ctx context.Context, host string) ([]string, error) {
		return caught(catch, "LookupFunc", nil, func() ([]string, error) { return lookup(ctx, host) })
	}
	if f := cc.AfterNetConnect; f != nil {
		cc.AfterNetConnect = func(ctx context.Context, config *pgconn.Config, nc net.Conn) (net.Conn, error) {
			return caught(catch, "AfterNetConnect", nc, func() (net.Conn, error) { return f(ctx, config, nc) }) // pgx closes nc
		}
	}
	if f := cc.OAuthTokenProvider; f != nil {
		cc.OAuthTokenProvider = func(ctx context.Context) (string, error) {
			return caught(catch, "OAuthTokenProvider", "", func() (string, error) { return f(ctx) })
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

// caught runs f by catch. If f panics it returns otherwise, and the panic as an error.
func caught[T any](catch func(string, func() error) error, what string, otherwise T, f func() (T, error)) (T, error) {
	err := catch(what, func() (err error) { otherwise, err = f(); return err })
	return otherwise, err
}

// Over ends d. err is the dial's error, or nil. Over returns err, or an error around it that says that the server was silent.
func (d *Dial) Over(err error) error {
	d.over.Store(true)
	var login *pgconn.ConnectError
	var out net.Error
	if l := d.login; l.most > l.first && d.accepted.Load() != nil && errors.As(err, &login) &&
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
	// mostLogin is the longest that a login may take, unless the user allows more. A server that hangs keeps a dial for so long.
	mostLogin = 30 * time.Second

	// shortConnect bounds the TCP part of a dial that is to be short, because the server was lost or does not answer: a machine that is gone sends
	// no answer, and its name may lead to another machine by now. A machine that runs answers within a round trip. Through a tunnel, for example, a
	// round trip may take longer than shortConnect, so not all dials in a row may be short.
	shortConnect = time.Second
)

// NewLoginTime returns a LoginTime for dials that may take connect. said: the user has set it, so it never grows. short: a dial's TCP part is to be short.
func NewLoginTime(connect time.Duration, said bool, short func() bool) *LoginTime {
	l := &LoginTime{tcp: connect, first: connect, most: mostLogin, short: short}
	if said {
		l.most = connect
	}
	return l
}

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

// password is the password that a dial has tried.
type password struct {
	tried bool
	was   string
}

type passwordKey struct{}

// errSamePassword ends the second try, since the server would refuse the same password again.
var errSamePassword = errors.New("lmipool: BeforeConnect has no other password")

// WithPasswords calls acquire, which dials. If the server refuses the password, it calls acquire once more, which succeeds only if BeforeConnect, which
// must end with TryPassword, has another one by then. So no caller gets an error because of a token that the server no longer accepts.
func WithPasswords(ctx context.Context, acquire func(context.Context) (*pgxpool.Conn, error)) (*pgxpool.Conn, error) {
	ctx = context.WithValue(ctx, passwordKey{}, &password{})
	c, err := acquire(ctx)
	if !refused(err) {
		return c, err
	}
	again, errAgain := acquire(ctx)
	if errors.Is(errAgain, errSamePassword) {
		return nil, err
	}
	return again, errAgain
}

// TryPassword notes the password that BeforeConnect has chosen. It returns an error if WithPasswords dials with it for the second time.
func TryPassword(ctx context.Context, cc *pgx.ConnConfig) error {
	p, _ := ctx.Value(passwordKey{}).(*password)
	if p == nil {
		return nil
	}
	if p.tried && p.was == cc.Password {
		return errSamePassword
	}
	p.tried, p.was = true, cc.Password
	return nil
}

// refused reports whether the server has refused the password or the user: RDS answers 28000 for a token, PostgreSQL 28P01 for a password.
func refused(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && (e.Code == "28P01" || e.Code == "28000")
}

package pgdial

import (
	"cmp"
	"context"
	"crypto/x509"
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

	"github.com/lmipool/lmipool/internal/awshost"
	"github.com/lmipool/lmipool/internal/pattern"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/sslmode"
)

// Dial is one dial, in which pgx may try several hosts, and several times.
type Dial struct {
	login    *LoginTime
	within   time.Duration             // how long it may take, for each host
	accepted atomic.Pointer[time.Time] // when the server accepted the connection; nil if it has not yet
	over     atomic.Bool               // the dial has ended: from now on the configuration dials cancel connections
	began    time.Time
	waits    atomic.Value // a string that says what the dial waits for
}

// NewDial returns a Dial that may take as long as l says.
func NewDial(l *LoginTime) *Dial {
	d := &Dial{login: l, began: time.Now()}
	d.waits.Store("BeforeConnect")
	return d
}

// Progress returns a text that says what d waits for and how long it has run. Any goroutine may call it.
func (d *Dial) Progress() string {
	return fmt.Sprintf("the dial that began %s ago waits for %s", time.Since(d.began).Round(time.Millisecond), d.waits.Load())
}

// Bound bounds the TCP part of the dials with cc, and makes d note whether a server accepts and logs in. cc's ValidateConnect must not be nil.
func (d *Dial) Bound(cc *pgx.ConnConfig) {
	var names []string
	for _, h := range sslmode.Hosts(&cc.Config) { // with sslmode=prefer each host is in this list twice
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

// Guard makes cc return an error if the user's code in it panics while a connection is opened or cancelled. pgxpool and pgx run that code in their own
// goroutines and do not recover, so a panic would end the process. OnNotice, OnNotification and OnPgError are guarded until the dial is over. Later they
// run in the goroutine of a statement's caller, who gets the panic, or in a goroutine of the pool, which recovers. catch runs f and returns its panic as
// an error. Guard leaves out the Tracer, BuildFrontend and BuildContextWatcherHandler, and what the last two return.
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

// caught runs f with catch, and returns what f returns. If f panics, it returns otherwise and the panic as an error.
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

// LoginTime says how long a dial may take: its TCP part, and the login. A machine that runs accepts a TCP connection within a round trip, so the TCP
// part has a short time. The login is TLS, authentication and the first answer. A server that was paused (Aurora Serverless) accepts at once and then sends
// nothing for 15 seconds or more. A server that hangs looks the same, and its name may lead to another server by now. So the first login has a short time,
// and after a login without an answer the next one may take twice as long. After a slow login that succeeds, the time stays long. If the user has set
// ConnectTimeout, that is the time for one whole dial.
type LoginTime struct {
	tcp, first, most time.Duration
	short            func() bool
	doubled          atomic.Int32 // counts how often first was doubled
}

const (
	// mostLogin is the longest time of a login, unless the user allows more. A server that hangs keeps a dial waiting for that time.
	mostLogin = 30 * time.Second

	// shortConnect bounds the TCP part of a dial after the server was lost or did not answer. A machine that is gone sends no answer, and its
	// name may lead to another machine by now, so the next dial should come soon. A machine that runs answers within a round trip. But a round
	// trip may take longer than shortConnect, through a tunnel for example, so not all dials in a row may be short.
	shortConnect = time.Second
)

// NewLoginTime returns a LoginTime whose first dials may take connect. If said is true, the user has set connect, so the time never grows. short reports
// whether the TCP part of the next dial is bounded by shortConnect.
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

// silent notes that a login got no answer within its time, within. The next login may take twice that.
func (l *LoginTime) silent(within time.Duration) {
	if n := l.doubled.Load(); within == l.Next() && within < l.most { // otherwise another dial has noted it at the same time
		l.doubled.CompareAndSwap(n, n+1)
	}
}

// took notes that a login has succeeded and took d. The next ones may take twice that or more, up to l.most.
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

// errSamePassword ends the second try of WithPasswords, since the server would refuse the same password again.
var errSamePassword = errors.New("lmipool: BeforeConnect has no other password")

// WithPasswords calls acquire, which dials. If the server refuses the password, it calls acquire once more, and BeforeConnect, which must end with
// TryPassword, is asked for another password. So no caller gets an error because of a token that the server does not accept any more.
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

// TryPassword notes the password that BeforeConnect has chosen. It returns an error if WithPasswords would dial with the same password again.
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

// Explain returns err, the error of a dial to one of hosts, and adds what to do about it. It removes the password, which pgx keeps in the
// configuration inside each of its errors. direct says that the pool's configuration names no pooler.
func Explain(err error, hosts []string, direct bool) error {
	var ce *pgconn.ConnectError
	tls, nothing := true, false
	if errors.As(err, &ce) && ce.Config != nil {
		nothing, ce.Config.Password = ce.Config.Password == "", "" // the configuration belongs to this dial alone
		switch sslmode.Of(ce.Config) {
		case sslmode.Disable, sslmode.Allow, sslmode.Prefer: // pgx has tried plain text too
			tls = false
		}
	}
	var e *pgconn.PgError
	isPg, advice := errors.As(err, &e), ""
	if isPg {
		advice = explainPooler(e, direct)
	}
	if tls {
		advice = cmp.Or(explainTLS(err, hosts), advice)
	}
	if nothing && refused(err) && passwordWord.RE().MatchString(err.Error()) {
		advice = "no password was given: not in the connection string, PGPASSWORD or a passfile, and BeforeConnect has set none"
	}
	if advice == "" && isPg {
		advice = e.Hint
	}
	if advice == "" {
		return err
	}
	return fmt.Errorf("%w (%s)", err, advice)
}

// passwordWord matches an error that is about a password and not about the user or his address.
var passwordWord = pattern.Lazy{Text: `28P01|authentication failed`}

// explainPooler says what to do about e if it comes from a pooler; otherwise it returns "".
func explainPooler(e *pgconn.PgError, direct bool) string {
	switch {
	case unsupportedParameter.RE().MatchString(e.Message):
		return "PgBouncer takes this setting of the connection string only if its ignore_startup_parameters names it; ALTER ROLE ... SET works without that"
	case direct && (e.Code == "42P05" || e.Code == "26000"):
		return `another client's prepared statements are in this session, so there is a pooler in transaction mode in between: say so with Config.Upstream, "pgbouncer" or "rds-proxy"`
	}
	return ""
}

// unsupportedParameter matches PgBouncer's message. PgBouncer uses the code 08P01 for all errors.
var unsupportedParameter = pattern.Lazy{Text: `^unsupported startup parameter`}

// explainTLS says what to do about err, of a dial to one of hosts, if TLS failed; otherwise it returns "".
func explainTLS(err error, hosts []string) string {
	var (
		invalid  x509.CertificateInvalidError
		wrong    x509.HostnameError
		unknown  x509.UnknownAuthorityError
		noSystem x509.SystemRootsError
	)
	switch {
	case errors.As(err, &wrong):
		return "the server's certificate is for another name: connect by the endpoint's own name, not by a CNAME or an IP address"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "the server's certificate is not valid now: renew it, unless this machine's clock is wrong"
	case errors.As(err, &unknown), errors.As(err, &noSystem):
		return "no root certificate here belongs to the authority that signed the server's: " + rootsFor(hosts)
	case err != nil && plainText.RE().MatchString(err.Error()):
		return "the server does not speak TLS: it is the wrong server, or has ssl = off; nothing was sent to it"
	}
	return ""
}

// plainText matches pgx's error, which has no type. A test compares it with pgx's.
var plainText = pattern.Lazy{Text: `server refused TLS connection`}

// rootsFor returns where to get the roots that are missing, and where to put them.
func rootsFor(hosts []string) string {
	for _, host := range hosts {
		h, ok := awshost.Parse(host)
		switch {
		case !ok:
		case h.Public:
			return "AWS signs this one with public roots, which are missing on this machine: install the package ca-certificates, or give Amazon's roots as Config.RootCAs"
		case h.Bundle == "":
			return "AWS publishes the roots of RDS for this partition; give them as Config.RootCAs"
		default:
			return "AWS publishes the roots of RDS. Download " + h.Bundle + " and add\n" +
				"\t//go:embed global-bundle.pem\n" +
				"\tvar rdsRoots []byte\n" +
				"and RootCAs: rdsRoots to the Config"
		}
	}
	return "give the root certificate of that authority as Config.RootCAs, or as sslrootcert in the connection string"
}

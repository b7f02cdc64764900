package pool_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"maps"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/internal/sslmode"
	"github.com/lmipool/lmipool/internal/tlstest"
	"github.com/lmipool/lmipool/pool"
)

// writer is a name that is looked up nowhere: tests dial at, whatever the host.
const writer = "app.cluster-abc123.eu-west-1.rds.amazonaws.com"

// at is a BeforeConnect that has all hosts be at addr.
func at(addr string) func(context.Context, *pgx.ConnConfig) error {
	return func(_ context.Context, c *pgx.ConnConfig) error {
		dial := c.DialFunc
		c.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
		c.DialFunc = func(ctx context.Context, network, _ string) (net.Conn, error) { return dial(ctx, network, addr) }
		return nil
	}
}

// impostor answers in a server's place, asks for the password in clear text, and keeps
// all that it is told.
type impostor struct {
	addr string
	mu   sync.Mutex
	wire bytes.Buffer // as it came
	told bytes.Buffer // within TLS, or without if it speaks none
}

// newImpostor has cert, or no TLS at all.
func newImpostor(t *testing.T, cert *tls.Certificate) *impostor {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	i := &impostor{addr: l.Addr().String()}
	var wg sync.WaitGroup
	t.Cleanup(func() { l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(10 * time.Second))
				i.serve(c, cert)
			})
		}
	})
	return i
}

func (i *impostor) serve(c net.Conn, cert *tls.Certificate) {
	c = &overheard{Conn: c, to: &i.wire, mu: &i.mu}
	if _, err := io.ReadFull(c, make([]byte, 8)); err != nil { // SSLRequest
		return
	}
	if cert == nil {
		c.Write([]byte{'N'})
	} else {
		c.Write([]byte{'S'})
		c = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{*cert}})
	}
	c = &overheard{Conn: c, to: &i.told, mu: &i.mu}
	b := pgproto3.NewBackend(c, c)
	if _, err := b.ReceiveStartupMessage(); err != nil {
		return
	}
	b.Send(&pgproto3.AuthenticationCleartextPassword{})
	b.Flush()
	io.Copy(io.Discard, c)
}

// heard is all that was said, as it came and as it was meant.
func (i *impostor) heard() (wire, told string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.wire.String(), i.told.String()
}

type overheard struct {
	net.Conn
	to *bytes.Buffer
	mu *sync.Mutex
}

func (o *overheard) Read(b []byte) (int, error) {
	n, err := o.Conn.Read(b)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.to.Write(b[:n])
	return n, err
}

func TestWhoIsNotTheServerIsToldNothing(t *testing.T) {
	t.Parallel()
	const (
		dsn   = "postgres://someone:hunter2@" + writer + "/secretdb?connect_timeout=5"
		proxy = "app.proxy-abc123.eu-west-1.rds.amazonaws.com"
	)
	ca, other := tlstest.NewCA(t, "the authority"), tlstest.NewCA(t, "another authority")
	issue := func(ca *tlstest.CA, change func(*x509.Certificate), name string) *tls.Certificate {
		c := ca.Issue(t, change, name)
		return &c
	}
	for name, c := range map[string]struct {
		host string // writer, if empty
		cert *tls.Certificate
		want []string
	}{
		"wrong host": {"", issue(ca, nil, "other.cluster-abc123.eu-west-1.rds.amazonaws.com"), []string{
			"x509: certificate is valid for other.cluster-abc123.eu-west-1.rds.amazonaws.com, not " + writer, "certificate is for another name",
		}},
		"expired": {"", issue(ca, tlstest.Expired, writer), []string{"x509: certificate has expired", "not valid now"}},
		"missing root": {"", issue(other, nil, writer), []string{
			"x509: certificate signed by unknown authority", "\t//go:embed global-bundle.pem\n\tvar rdsRoots []byte\n",
			"https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem", "RootCAs: rdsRoots",
		}},
		"missing root, a proxy": {proxy, issue(other, nil, proxy), []string{"unknown authority", "public roots", "ca-certificates"}},
		"missing root, not AWS": {"localhost", issue(other, nil, "localhost"), []string{"unknown authority", "sslrootcert"}},
		"plain text, not AWS":   {"localhost", nil, []string{"server refused TLS connection"}},
		"plain text":            {"", nil, []string{"server refused TLS connection", "does not speak TLS"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i, log := newImpostor(t, c.cert), &logs{}
			dsn := strings.Replace(dsn, writer, cmp.Or(c.host, writer), 1)
			p := newPoolAt(t, dsn, &pool.Config{RootCAs: ca.PEM, BeforeConnect: at(i.addr), Logger: log.logger()})
			err := p.Ping(bounded(t))
			for _, want := range c.want {
				assert.ErrorContains(t, err, want)
			}
			t.Log(err)
			wire, told := i.heard()
			assert.NotEmpty(t, wire, "it was asked")
			assert.Empty(t, told)
			for _, secret := range []string{"hunter2", "someone", "secretdb"} {
				assert.NotContains(t, wire, secret)
			}
			assert.NotContains(t, err.Error()+strings.Join(log.lines(), "\n"), "hunter2")
		})
	}
	t.Run("control", func(t *testing.T) { // the impostor hears what it is told
		t.Parallel()
		i := newImpostor(t, issue(other, nil, "x"))
		p := newPoolAt(t, dsn+"&sslmode=require", &pool.Config{RootCAs: ca.PEM, BeforeConnect: at(i.addr), Logger: (&logs{}).logger()})
		ctx, cancel := context.WithCancel(bounded(t))
		go p.Ping(ctx)
		eventually(t, "the password", func() bool { _, told := i.heard(); return strings.Contains(told, "hunter2") })
		cancel()
	})
}

// startAs is a real server with a certificate for names.
func startAs(t *testing.T, ca *tlstest.CA, more map[string]string, names ...string) *pgtest.Server {
	t.Helper()
	settings := tlstest.Settings(t, ca.Issue(t, nil, names...))
	maps.Copy(settings, more)
	server, err := pgtest.Start(bounded(t), pgtest.Options{Settings: settings})
	if err != nil && strings.Contains(err.Error(), "SSL is not supported by this build") {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	return server
}

func TestHostsOfAWSAreVerified(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewCA(t, "the authority")
	server := startAs(t, ca, nil, writer)
	file := tlstest.File(t, ca.PEM)
	for name, c := range map[string]struct {
		dsn   string
		roots []byte
		mode  sslmode.Mode
		want  string // of the error
		warns bool
	}{
		"roots by Config":          {"postgres://postgres@" + writer + "/postgres", ca.PEM, sslmode.VerifyFull, "", false},
		"by sslrootcert":           {"host=" + writer + " user=postgres sslrootcert=" + file, nil, sslmode.VerifyFull, "", false},
		"direct TLS":               {"host=" + writer + " user=postgres sslnegotiation=direct", ca.PEM, sslmode.VerifyFull, "EOF", false}, // PostgreSQL 17
		"none":                     {"host=" + writer + " user=postgres", nil, sslmode.VerifyFull, "//go:embed", false},
		"another host, roots":      {"host=localhost user=postgres", ca.PEM, sslmode.VerifyFull, "not localhost", false},
		"another host":             {"host=localhost user=postgres", nil, sslmode.Prefer, "", false},
		"several":                  {"host=" + writer + ",localhost user=postgres", nil, sslmode.Prefer, "", false},
		"chosen: prefer":           {"postgres://postgres@" + writer + "/postgres?sslmode=prefer", nil, sslmode.Prefer, "", true},
		"chosen: prefer, by words": {"host=" + writer + " user=postgres sslmode = 'prefer'", ca.PEM, sslmode.Prefer, "", true},
		"chosen: require":          {"postgres://postgres@" + writer + "/postgres?sslmode=require", ca.PEM, sslmode.Require, "", true},
		"chosen: disable":          {"host=" + writer + " user=postgres sslmode=disable", nil, sslmode.Disable, "", true},
		"chosen: verify-ca":        {"host=" + writer + ",reader user=postgres sslmode=verify-ca", ca.PEM, sslmode.VerifyCA, "", true},
		"chosen: verify-ca, none":  {"host=" + writer + " user=postgres sslmode=verify-ca", nil, sslmode.VerifyCA, "//go:embed", true},
		"chosen: verify-full":      {"host=" + writer + " user=postgres sslmode=verify-full", ca.PEM, sslmode.VerifyFull, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := &logs{}
			var mode sslmode.Mode
			p := newPoolAt(t, c.dsn, &pool.Config{MaxConns: 1, RootCAs: c.roots, Logger: log.logger(), BeforeConnect: func(ctx context.Context, cc *pgx.ConnConfig) error {
				mode = sslmode.Of(&cc.Config)
				return at(server.Addr())(ctx, cc)
			}})
			warnings := log.lines()
			err := p.Ping(bounded(t))
			assert.Equal(t, c.mode, mode)
			switch {
			case name == "direct TLS":
			case c.want != "":
				assert.ErrorContains(t, err, c.want)
			default:
				require.NoError(t, err)
				var encrypted bool
				require.NoError(t, p.QueryRow(bounded(t), "select ssl from pg_stat_ssl where pid = pg_backend_pid()").Scan(&encrypted))
				assert.Equal(t, c.mode != sslmode.Disable, encrypted)
			}
			if !c.warns {
				assert.Empty(t, warnings)
			} else if assert.Len(t, warnings, 1) {
				assert.Contains(t, warnings[0], "sslmode="+string(c.mode)+" host="+writer)
			}
		})
	}
}

// A TLS configuration that the user has made has checks of its own: they run beside verify-full, and what they refuse is refused.
func TestAUsersOwnChecksOfACertificateAreKept(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewCA(t, "the authority")
	server := startAs(t, ca, nil, writer)
	for _, skips := range []bool{false, true} {
		var peers, connections atomic.Int32
		px, err := pgxpool.ParseConfig("host=" + writer + " user=postgres")
		require.NoError(t, err)
		refuse := errors.New("the pin is another")
		px.ConnConfig.TLSConfig = &tls.Config{
			ServerName: writer, InsecureSkipVerify: skips,
			VerifyConnection: func(tls.ConnectionState) error { connections.Add(1); return nil },
			VerifyPeerCertificate: func([][]byte, [][]*x509.Certificate) error {
				if peers.Add(1) == 1 {
					return refuse
				}
				return nil
			},
		}
		p, err := pool.NewWithConfig(t.Context(), px, &pool.Config{MaxConns: 1, RootCAs: ca.PEM, Logger: (&logs{}).logger(), BeforeConnect: at(server.Addr())})
		require.NoError(t, err)
		t.Cleanup(p.Close)
		require.ErrorContains(t, p.Ping(bounded(t)), refuse.Error(), "skips %t", skips)
		require.NoError(t, p.Ping(bounded(t)))
		assert.EqualValues(t, 2, peers.Load())
		assert.EqualValues(t, 1, connections.Load())
	}
}

func TestTheEnvironmentMayChooseTheSslmode(t *testing.T) {
	t.Setenv("PGSSLMODE", "prefer")
	log := &logs{}
	var mode sslmode.Mode
	p := newPoolAt(t, "host="+writer, &pool.Config{Logger: log.logger(), BeforeConnect: func(_ context.Context, cc *pgx.ConnConfig) error {
		mode = sslmode.Of(&cc.Config)
		return assert.AnError
	}})
	assert.Len(t, log.lines(), 1)
	assert.ErrorIs(t, p.Ping(bounded(t)), assert.AnError)
	assert.Equal(t, sslmode.Prefer, mode)
}

func TestRootsAreBesideThoseThatThereAre(t *testing.T) {
	t.Parallel()
	ca, other := tlstest.NewCA(t, "one"), tlstest.NewCA(t, "other")
	system, err := x509.SystemCertPool()
	require.NoError(t, err)
	system.AppendCertsFromPEM(ca.PEM)
	both := x509.NewCertPool()
	both.AppendCertsFromPEM(ca.PEM)
	both.AppendCertsFromPEM(other.PEM)
	for dsn, want := range map[string]*x509.CertPool{
		"host=" + writer: system, // RDS Proxy has a public one
		"host=" + writer + " sslrootcert=" + tlstest.File(t, other.PEM): both,
	} {
		var got *x509.CertPool
		p := newPoolAt(t, dsn, &pool.Config{RootCAs: ca.PEM, Logger: (&logs{}).logger(), BeforeConnect: func(_ context.Context, cc *pgx.ConnConfig) error {
			got = cc.TLSConfig.RootCAs
			return assert.AnError
		}})
		assert.ErrorIs(t, p.Ping(bounded(t)), assert.AnError)
		assert.True(t, want.Equal(got), dsn)
	}
	_, err = pool.New(t.Context(), "host="+writer, &pool.Config{RootCAs: []byte("<html>404")})
	assert.EqualError(t, err, "lmipool: Config.RootCAs is 9 bytes without a certificate: want PEM, with -----BEGIN CERTIFICATE-----")
}

// firstWrites keeps how a connection begins.
type firstWrites struct {
	net.Conn
	mu  *sync.Mutex
	buf bytes.Buffer
}

func (f *firstWrites) Write(b []byte) (int, error) {
	f.mu.Lock()
	f.buf.Write(b)
	f.mu.Unlock()
	return f.Conn.Write(b)
}

func TestACancelRequestIsEncryptedToo(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewCA(t, "the authority")
	server := startAs(t, ca, nil, "127.0.0.1")
	inspector := newInspector(t, server.ConnString())
	var mu sync.Mutex
	var conns []*firstWrites
	dsn := strings.Replace(server.ConnString(), "?sslmode=disable", "", 1)
	p := newPoolAt(t, dsn, &pool.Config{RootCAs: ca.PEM, MaxConns: 1, BeforeConnect: wrapped(func(nc *net.TCPConn) net.Conn {
		mu.Lock()
		defer mu.Unlock()
		conns = append(conns, &firstWrites{Conn: nc, mu: &mu})
		return conns[len(conns)-1]
	})})
	ctx, cancel := context.WithCancel(bounded(t))
	done := make(chan error, 1)
	go func() {
		_, err := p.Exec(ctx, "select pg_sleep(30)")
		done <- err
	}()
	eventually(t, "it runs", func() bool { return inspector.running("%pg_sleep(30)") == 1 })
	cancel()
	assert.Error(t, ends(t, "the statement", done))
	eventually(t, "it is cancelled", func() bool { return inspector.running("%pg_sleep(30)") == 0 })
	mu.Lock()
	defer mu.Unlock()
	require.GreaterOrEqual(t, len(conns), 2)
	for _, c := range conns {
		b := c.buf.Bytes()
		require.Greater(t, len(b), 9)
		assert.Equal(t, []byte{0, 0, 0, 8, 4, 210, 22, 47, 22, 3, 1}, b[:11], "SSLRequest and ClientHello")
		assert.NotContains(t, string(b), "pg_sleep")
	}
}

func TestARefusedPasswordIsAskedForOnceMore(t *testing.T) {
	t.Parallel()
	ca := tlstest.NewCA(t, "the authority")
	hba := "host all postgres all trust\nhostssl all app all password\n"
	server := startAs(t, ca, map[string]string{"hba_file": tlstest.File(t, []byte(hba))}, "127.0.0.1")
	_, err := newInspector(t, server.ConnString()).c.Exec(bounded(t), "create role app login password 'new'")
	require.NoError(t, err)
	dsn := strings.NewReplacer("?sslmode=disable", "", "postgres@", "app@").Replace(server.ConnString())

	for _, c := range []struct {
		passwords []string
		asked     int
		dials     int
	}{
		{[]string{"old", "new"}, 2, 2},
		{[]string{"old", "old", "new"}, 2, 1}, // another try would have the same answer
		{[]string{"old", "older", "new"}, 2, 2},
	} {
		var asked, dials int
		p := newPoolAt(t, dsn, &pool.Config{RootCAs: ca.PEM, Logger: (&logs{}).logger(), BeforeConnect: func(_ context.Context, cc *pgx.ConnConfig) error {
			cc.Password = c.passwords[min(asked, len(c.passwords)-1)]
			asked++
			dial := cc.DialFunc
			cc.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
				dials++
				return dial(ctx, network, addr)
			}
			return nil
		}})
		err := p.Ping(bounded(t))
		assert.Equal(t, c.asked, asked)
		assert.Equal(t, c.dials, dials)
		if c.passwords[1] == "new" {
			assert.NoError(t, err)
			continue
		}
		assert.ErrorContains(t, err, "28P01")
		var failed *pgconn.ConnectError
		require.ErrorAs(t, err, &failed)
		assert.Empty(t, failed.Config.Password, "an error is logged by whoever gets it")
	}
}

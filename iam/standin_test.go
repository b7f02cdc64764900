package iam_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/internal/tlstest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

const (
	region = "eu-west-1"
	writer = "app.cluster-abc123.eu-west-1.rds.amazonaws.com"
	reader = "app.cluster-ro-abc123.eu-west-1.rds.amazonaws.com"
)

// standIn does what RDS does at a login, in the process's memory and so also in a
// synctest bubble: TLS, then a token as the password, whose signature, time, endpoint
// and user it checks.
type standIn struct {
	roots *x509.CertPool
	cert  tls.Certificate

	mu      sync.Mutex
	keys    map[string]aws.Credentials // that are valid, by access key
	ahead   time.Duration              // of our clock
	away    map[string]bool            // hosts that cannot be reached
	logins  map[string]int             // by token
	refused int
	wire    bytes.Buffer // everything that came, as it came
}

func newStandIn(t *testing.T, names ...string) *standIn {
	t.Helper()
	ca := tlstest.NewCA(t, "the authority")
	s := &standIn{
		roots: x509.NewCertPool(), cert: ca.Issue(t, nil, names...),
		keys: make(map[string]aws.Credentials), away: make(map[string]bool), logins: make(map[string]int),
	}
	require.True(t, s.roots.AppendCertsFromPEM(ca.PEM))
	return s
}

// accept makes c's keys valid, until they expire.
func (s *standIn) accept(c aws.Credentials) aws.Credentials {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys[c.AccessKeyID] = c
	return c
}

func (s *standIn) revoke(c aws.Credentials) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.keys, c.AccessKeyID)
}

// counts returns how many logins there were, with how many tokens, and how many were
// refused.
func (s *standIn) counts() (logins, tokens, refused int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range s.logins {
		logins += n
	}
	return logins, len(s.logins), s.refused
}

// config is that of a client that knows the authority, for dsn.
func (s *standIn) config(t *testing.T, dsn string) *pgx.ConnConfig {
	t.Helper()
	c, err := pgx.ParseConfig(dsn)
	require.NoError(t, err)
	if c.TLSConfig != nil {
		c.TLSConfig.RootCAs = s.roots
	}
	for _, f := range c.Fallbacks {
		if f.TLSConfig != nil {
			f.TLSConfig.RootCAs = s.roots
		}
	}
	c.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
	c.DialFunc = func(_ context.Context, _, addr string) (net.Conn, error) {
		host, _, _ := net.SplitHostPort(addr)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.away[host] {
			return nil, fmt.Errorf("%s is away", host)
		}
		client, server := net.Pipe()
		go s.serve(server, addr)
		return client, nil
	}
	return c
}

func (s *standIn) serve(c net.Conn, addr string) {
	defer c.Close()
	c = &overheard{Conn: c, s: s}
	if _, err := io.ReadFull(c, make([]byte, 8)); err != nil { // SSLRequest
		return
	}
	c.Write([]byte{'S'})
	c = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{s.cert}})
	defer c.Close()
	b := pgproto3.NewBackend(c, c)
	m, err := b.ReceiveStartupMessage()
	if err != nil {
		return
	}
	b.Send(&pgproto3.AuthenticationCleartextPassword{})
	b.Flush()
	b.SetAuthType(pgproto3.AuthTypeCleartextPassword)
	answer, err := b.Receive()
	if err != nil {
		return
	}
	user := m.(*pgproto3.StartupMessage).Parameters["user"]
	if err := s.login(answer.(*pgproto3.PasswordMessage).Password, addr, user); err != nil {
		b.Send(&pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: "28000", Message: fmt.Sprintf("PAM authentication failed for user %q", user)})
		b.Flush()
		return
	}
	b.Send(&pgproto3.AuthenticationOk{})
	b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	b.Flush()
	io.Copy(io.Discard, c)
}

// login checks a token as AWS does.
func (s *standIn) login(token, addr, user string) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() {
		if err != nil {
			s.refused++
		} else {
			s.logins[token]++
		}
	}()
	u, err := url.Parse("https://" + token)
	if err != nil {
		return err
	}
	q, now := u.Query(), time.Now().Add(s.ahead)
	signed, err := time.Parse("20060102T150405Z", q.Get("X-Amz-Date"))
	if err != nil {
		return err
	}
	key, _, _ := strings.Cut(q.Get("X-Amz-Credential"), "/")
	c, ok := s.keys[key]
	switch {
	case !ok:
		return fmt.Errorf("unknown key %s", key)
	case c.CanExpire && !now.Before(c.Expires):
		return fmt.Errorf("the key expired at %s", c.Expires)
	case now.Before(signed.Add(-5 * time.Minute)), now.After(signed.Add(15 * time.Minute)):
		return fmt.Errorf("signed at %s", signed)
	}
	r, err := http.NewRequest(http.MethodGet, "https://"+addr+"?"+url.Values{
		"Action": {"connect"}, "DBUser": {user}, "X-Amz-Expires": {"900"},
	}.Encode(), nil)
	if err != nil {
		return err
	}
	const nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	want, _, err := v4.NewSigner().PresignHTTP(context.Background(), c, r, nothing, "rds-db", region, signed)
	if err == nil && want != "https://"+token {
		err = fmt.Errorf("the signature is not that of %s for %s", addr, user)
	}
	return err
}

type overheard struct {
	net.Conn
	s *standIn
}

func (o *overheard) Read(b []byte) (int, error) {
	n, err := o.Conn.Read(b)
	o.s.mu.Lock()
	defer o.s.mu.Unlock()
	o.s.wire.Write(b[:n])
	return n, err
}

// role is a credentials provider whose credentials the test changes, and that counts
// how often it is asked: once for each signing.
type role struct {
	mu       sync.Mutex
	asked    int
	retrieve func(context.Context) (aws.Credentials, error)
}

func (r *role) Retrieve(ctx context.Context) (aws.Credentials, error) {
	r.mu.Lock()
	r.asked++
	f := r.retrieve
	r.mu.Unlock()
	return f(ctx)
}

func (r *role) becomes(c aws.Credentials, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.retrieve = func(context.Context) (aws.Credentials, error) { return c, err }
}

func (r *role) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked
}

// key makes credentials that are told apart by name.
func key(name string) aws.Credentials {
	return aws.Credentials{AccessKeyID: "AKID" + name, SecretAccessKey: "SECRETKEY" + name, SessionToken: "SESSIONTOKEN" + name, Source: "test"}
}

func expiring(c aws.Credentials, at time.Time) aws.Credentials {
	c.CanExpire, c.Expires = true, at
	return c
}

// roleWith is a role that has c.
func roleWith(c aws.Credentials) *role {
	r := &role{}
	r.becomes(c, nil)
	return r
}

// logs collects what is logged.
type logs struct {
	mu    sync.Mutex
	lines []string
}

func (l *logs) logger() *slog.Logger                     { return slog.New(l) }
func (l *logs) Enabled(context.Context, slog.Level) bool { return true }
func (l *logs) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *logs) WithGroup(string) slog.Handler            { return l }
func (l *logs) Handle(_ context.Context, r slog.Record) error {
	s := r.Message
	r.Attrs(func(a slog.Attr) bool { s += fmt.Sprintf(" %s=%+v", a.Key, a.Value); return true })
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, s)
	return nil
}

func (l *logs) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.lines...)
}

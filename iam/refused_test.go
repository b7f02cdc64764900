package iam_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/iam"
	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/internal/tlstest"
	"github.com/lmipool/lmipool/pool"
)

// hint is the advice in err.
func hint(t *testing.T, err error) string {
	t.Helper()
	var e *pgconn.PgError
	require.ErrorAs(t, err, &e)
	assert.Equal(t, "28000", e.Code)
	return e.Hint
}

func TestCredentialsThatWereRevokedAreFetchedAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStandIn(t, writer)
		old, now := s.accept(expiring(key("1"), time.Now().Add(time.Hour))), s.accept(expiring(key("2"), time.Now().Add(time.Hour)))
		inner := roleWith(old)
		source, c := iam.New(aws.NewCredentialsCache(inner), nil), s.config(t, "user=app host="+writer)
		require.NoError(t, connect(t, source, c))
		s.revoke(old)
		inner.becomes(now, nil)
		assert.Contains(t, hint(t, connect(t, source, c)), "the next dial has another")
		assert.NoError(t, connect(t, source, c))
		assert.Equal(t, 2, inner.count())
	})
}

func TestAWrongClockIsSaid(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *standIn, r *role, log *logs, source *iam.Source) {
		c := s.config(t, "user=app host="+writer)
		s.ahead = 20 * time.Minute
		const signed = "signed at 2000-01-01T00:00:00Z by this machine's clock"
		h := hint(t, connect(t, source, c))
		assert.Contains(t, h, "app at "+writer+":5432 in eu-west-1, "+signed)
		assert.Contains(t, h, "the next dial has another")
		for range 5 { // another one would not do either
			assert.Contains(t, hint(t, connect(t, source, c)), "this token was signed because another had been refused")
		}
		assert.Equal(t, 2, r.count())
		assert.Len(t, log.all(), 6)
		assert.Contains(t, log.all()[0], "signed_at=2000-01-01T00:00:00Z signs_another=true")

		time.Sleep(time.Minute) // by which time it might
		hint(t, connect(t, source, c))
		s.ahead = 0
		assert.NoError(t, connect(t, source, c))
		assert.Equal(t, 3, r.count())
	})
}

func TestEachHostGetsItsOwnToken(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *standIn, r *role, _ *logs, source *iam.Source) {
		c := s.config(t, "user=app host="+writer+","+reader)
		after := 0
		c.AfterNetConnect = func(_ context.Context, _ *pgconn.Config, nc net.Conn) (net.Conn, error) { after++; return nc, nil }
		assert.NoError(t, connect(t, source, c))
		s.away[writer] = true
		assert.NoError(t, connect(t, source, c))
		s.away[writer] = false
		assert.NoError(t, connect(t, source, c))
		logins, tokens, refused := s.counts()
		assert.Equal(t, []int{3, 2, 0, 2, 3}, []int{logins, tokens, refused, r.count(), after})

		s.revoke(key("1")) // which both hosts refuse; pgx asks the second after a 28000
		assert.Error(t, connect(t, source, c))
		s.accept(key("1"))
		assert.NoError(t, connect(t, source, c))
		assert.Equal(t, 4, r.count(), "both tokens were signed anew")
	})
}

func TestWhoIsNotTheServerGetsNoToken(t *testing.T) {
	t.Parallel()
	for _, hosts := range []string{writer, writer + "," + reader} {
		impostor, real := newStandIn(t, writer, reader), newStandIn(t, writer, reader)
		l, err := net.Listen("tcp", "127.0.0.1:0") // TLS that fails needs the buffers of a socket
		require.NoError(t, err)
		defer l.Close()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go impostor.serve(c, writer+":5432")
			}
		}()
		c := real.config(t, "user=app host="+hosts) // sslmode=prefer, of pgx
		c.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
		}
		r := roleWith(impostor.accept(key("1")))
		err = connect(t, iam.New(r, nil), c)
		var unknown x509.UnknownAuthorityError
		assert.ErrorAs(t, err, &unknown)
		assert.NotZero(t, r.count(), "there was a token to tell")
		assert.Equal(t, "0 0 0", fmt.Sprint(impostor.counts()))

		impostor.mu.Lock()
		assert.NotZero(t, impostor.wire.Len())
		for _, secret := range []string{"X-Amz", "AKID", "Signature", "app\x00"} {
			assert.NotContains(t, impostor.wire.String(), secret)
		}
		impostor.mu.Unlock()
	}
}

// realServer is a PostgreSQL that has a certificate for writer and lets user app in by
// password, and a way to set that.
func realServer(t *testing.T) (dsn string, roots []byte, dialed func(*pgx.ConnConfig), setPassword func(string)) {
	t.Helper()
	ca := tlstest.NewCA(t, "the authority")
	settings := tlstest.Settings(t, ca.Issue(t, nil, writer))
	settings["hba_file"] = tlstest.File(t, []byte("host all postgres all trust\nhostssl all app all password\n"))
	server, err := pgtest.Start(t.Context(), pgtest.Options{Settings: settings})
	if err != nil && strings.Contains(err.Error(), "SSL is not supported by this build") {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	admin, err := pgx.Connect(t.Context(), server.ConnString())
	require.NoError(t, err)
	t.Cleanup(func() { admin.Close(context.Background()) })
	set := func(password string) {
		_, err := admin.Exec(t.Context(), "alter role app password '"+password+"'")
		assert.NoError(t, err)
	}
	_, err = admin.Exec(t.Context(), "create role app login")
	require.NoError(t, err)
	dialed = func(c *pgx.ConnConfig) {
		dial := c.DialFunc
		c.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
		c.DialFunc = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dial(ctx, network, server.Addr())
		}
	}
	return "postgres://app@" + writer + "/postgres", ca.PEM, dialed, set
}

func TestARefusedTokenIsHealedOnce(t *testing.T) {
	t.Parallel()
	dsn, roots, dialed, setPassword := realServer(t)
	r, log := roleWith(key("1")), &logs{}
	source := iam.New(r, &iam.Config{Logger: log.logger()})
	dials := 0
	takes := "" // the key whose tokens the server takes
	p, err := pool.New(t.Context(), dsn, &pool.Config{MaxConns: 1, RootCAs: roots, Logger: log.logger(), BeforeConnect: func(ctx context.Context, c *pgx.ConnConfig) error {
		if err := source.BeforeConnect(ctx, c); err != nil {
			return err
		}
		dials++
		dialed(c)
		if takes != "" && strings.Contains(c.Password, takes) {
			setPassword(c.Password)
		}
		return nil
	}})
	require.NoError(t, err)
	defer p.Close()
	renew := func() { // a connection of its own for each step
		p.AcquireFunc(t.Context(), func(l *pool.Lease) error { return l.Conn().Close(t.Context()) })
	}

	takes = "AKID1"
	require.NoError(t, p.Ping(t.Context()))
	assert.Equal(t, 1, dials)
	renew()
	setPassword("of another role") // the role was changed: so are its credentials, and what the server takes
	takes = "AKID2"
	r.becomes(key("2"), nil)
	require.NoError(t, p.Ping(t.Context()), "the caller does not notice")
	assert.Equal(t, 3, dials)
	assert.Equal(t, 2, r.count())

	renew()
	setPassword("of nobody")
	takes = ""
	dials = 0
	err = p.Ping(t.Context())
	require.Error(t, err)
	t.Log(err)
	for _, want := range []string{"28P01", "lmipool: iam: the token is for app at " + writer + ":5432 in eu-west-1", "rds_iam", "rds-db:connect", "CNAME"} {
		assert.ErrorContains(t, err, want)
	}
	var failed *pgconn.ConnectError
	require.True(t, errors.As(err, &failed))
	assert.Empty(t, failed.Config.Password)
	assert.LessOrEqual(t, r.count(), 3)
	for _, line := range append(log.all(), err.Error()) {
		assert.NotContains(t, line, "X-Amz")
		assert.NotContains(t, line, "SECRETKEY")
		assert.NotContains(t, line, "SESSIONTOKEN")
	}
}

func TestPlainPgxpoolIsHealedByItsNextDial(t *testing.T) {
	t.Parallel()
	dsn, roots, dialed, setPassword := realServer(t)
	r := roleWith(key("1"))
	source := iam.New(r, &iam.Config{Logger: (&logs{}).logger()})
	c, err := pgxpool.ParseConfig(dsn + "?sslmode=verify-full")
	require.NoError(t, err)
	c.ConnConfig.TLSConfig.RootCAs = x509.NewCertPool()
	c.ConnConfig.TLSConfig.RootCAs.AppendCertsFromPEM(roots)
	dialed(c.ConnConfig)
	c.BeforeConnect = func(ctx context.Context, cc *pgx.ConnConfig) error {
		err := source.BeforeConnect(ctx, cc)
		if strings.Contains(cc.Password, "AKID2") {
			setPassword(cc.Password)
		}
		return err
	}
	p, err := pgxpool.NewWithConfig(t.Context(), c)
	require.NoError(t, err)
	defer p.Close()
	setPassword("of another role")
	var e *pgconn.PgError
	require.ErrorAs(t, p.Ping(t.Context()), &e)
	assert.Equal(t, "28P01", e.Code)
	assert.Contains(t, e.Hint, "the next dial has another")
	r.becomes(key("2"), nil)
	assert.NoError(t, p.Ping(t.Context()))
}

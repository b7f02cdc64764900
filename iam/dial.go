package iam

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/sslmode"
)

// dial has the tokens of one dial, one token for each host that pgx may try.
type dial struct {
	s       *Source
	tokens  []*token
	current atomic.Pointer[token] // the token of the host that pgx tries now
}

// perHost sends each host its own token. pgx has one password for all hosts, and does not say which host it tries. But each host has its own TLS
// configuration. Its VerifyConnection runs after the server has proven to be that host, and before the password is sent.
func (d *dial) perHost(cc *pgx.ConnConfig) {
	hosts := sslmode.Hosts(&cc.Config)
	for i, h := range hosts {
		c := *h
		c.TLSConfig = h.TLSConfig.Clone()
		verify := c.TLSConfig.VerifyConnection
		c.TLSConfig.VerifyConnection = func(state tls.ConnectionState) error {
			if verify != nil {
				if err := verify(state); err != nil {
					return err
				}
			}
			d.current.Store(d.tokens[i])
			return nil
		}
		hosts[i] = &c
	}
	sslmode.SetHosts(&cc.Config, hosts)
	after := cc.AfterNetConnect
	cc.AfterNetConnect = func(ctx context.Context, config *pgconn.Config, nc net.Conn) (net.Conn, error) {
		c, ok := nc.(*tls.Conn)
		if !ok {
			return nc, fmt.Errorf("lmipool: iam: want TLS at this point, have a %T", nc)
		}
		if err := c.HandshakeContext(ctx); err != nil {
			return nc, err
		}
		config.Password = d.current.Load().value() // config is this connection's own copy
		if after == nil {
			return nc, nil
		}
		return after(ctx, config, nc)
	}
}

// listen sets OnPgError so that a refused token is noticed. BeforeConnect does not learn how its dial ends, but pgx calls OnPgError for each error of
// the server.
func (d *dial) listen(cc *pgx.ConnConfig) {
	onError := cc.OnPgError
	cc.OnPgError = func(c *pgconn.PgConn, e *pgconn.PgError) bool {
		// RDS answers 28000 for a token, RDS Proxy and PostgreSQL 28P01. A refused login is FATAL. If a function raises an error with the same code,
		// that error is not FATAL.
		if (e.Code == "28000" || e.Code == "28P01") && strings.EqualFold(e.Severity, "FATAL") {
			t := d.current.Load()
			again := d.s.refused(t)
			if e.Hint == "" { // the hint is PostgreSQL's field for advice
				e.Hint = t.advice(again)
			}
			d.s.cfg.Logger.Warn("lmipool: iam: the server refused a token", "error", e, "host", t.id.host, "user", t.id.user,
				"region", t.id.region, "signed_at", t.signed.UTC().Format(time.RFC3339), "signs_another", again)
		}
		return onError == nil || onError(c, e)
	}
}

// refused marks t as refused and returns true, so that the next dial gets another token. It returns false if t itself replaced a refused token less
// than 30 s ago, since then the token is not at fault.
func (s *Source) refused(t *token) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.renewed && age(t.signed, time.Now()) < renewEvery {
		return false
	}
	t.refused = true
	return true
}

// advice returns what the user should check. The text names everything that t was signed with, and no part of t's value.
func (t *token) advice(again bool) string {
	other := "this token was signed because another had been refused"
	if again {
		other = "the next dial has another"
	}
	source := t.source
	if source == "" {
		source = "an unnamed provider"
	}
	return fmt.Sprintf("lmipool: iam: the token is for %s, signed at %s by this machine's clock with credentials of %s; %s. "+
		"Look whether the clock is right within 5 minutes, whether %q was granted rds_iam, whether the IAM policy allows rds-db:connect for it, "+
		"and whether the host is the endpoint's own name, not a CNAME",
		t.id, t.signed.UTC().Format(time.RFC3339), source, other, t.id.user)
}

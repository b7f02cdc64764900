package pool

import (
	"context"
	"net"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/multitracer"
	"github.com/jackc/pgx/v5/pgconn"
)

// guarded has code of the user's that cc calls return an error where it panics while a connection
// is opened or cancelled: that happens in goroutines of pgxpool's and pgx's, which do not recover,
// so it would end the process. What listens to the server is guarded until opened returns true: from then on
// it runs in the goroutine of a statement's caller, whose panic it is, or in one of the pool's.
//
// Residue: BuildFrontend and BuildContextWatcherHandler, and what they return.
func (p *Pool) guarded(cc *pgx.ConnConfig, opened *atomic.Bool) {
	if cc.Tracer != nil {
		cc.Tracer = tracer{multitracer.New(cc.Tracer), p}
	}
	if f := cc.DialFunc; f != nil {
		cc.DialFunc = func(ctx context.Context, network, addr string) (c net.Conn, err error) {
			err = p.guard("DialFunc", func() (err error) { c, err = f(ctx, network, addr); return err })
			return c, err
		}
	}
	if f := cc.LookupFunc; f != nil {
		cc.LookupFunc = func(ctx context.Context, host string) (addrs []string, err error) {
			err = p.guard("LookupFunc", func() (err error) { addrs, err = f(ctx, host); return err })
			return addrs, err
		}
	}
	if f := cc.AfterNetConnect; f != nil {
		cc.AfterNetConnect = func(ctx context.Context, config *pgconn.Config, nc net.Conn) (net.Conn, error) {
			own := nc // if f panics: pgx closes what is returned
			err := p.guard("AfterNetConnect", func() (err error) { own, err = f(ctx, config, nc); return err })
			return own, err
		}
	}
	if f := cc.OAuthTokenProvider; f != nil {
		cc.OAuthTokenProvider = func(ctx context.Context) (token string, err error) {
			err = p.guard("OAuthTokenProvider", func() (err error) { token, err = f(ctx); return err })
			return token, err
		}
	}
	cc.ValidateConnect = hook(p, "ValidateConnect", cc.ValidateConnect)
	cc.Config.AfterConnect = hook(p, "pgconn's AfterConnect", cc.Config.AfterConnect)
	dialing := func(what string, f func()) {
		if opened.Load() {
			f()
			return
		}
		p.protect(what, f)
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

package pgdial

import (
	"context"
	"net"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Guard has code of the user's that cc calls return an error where it panics while a connection
// is opened or cancelled: that happens in goroutines of pgxpool's and pgx's, which do not recover,
// so it would end the process. What listens to the server is guarded until the dial is over: from then on
// it runs in the goroutine of a statement's caller, whose panic it is, or in one of the pool's.
// catch runs f and makes a panic its error.
//
// Residue: BuildFrontend and BuildContextWatcherHandler, and what they return; and the Tracer, which is the caller's.
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
			own := nc // if f panics: pgx closes what is returned
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

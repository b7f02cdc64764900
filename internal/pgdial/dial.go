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
	over     atomic.Bool               // what is dialed now are cancel connections
}

// NewDial is a dial that has the time which l says.
func NewDial(l *LoginTime) *Dial { return &Dial{login: l} }

// Bound bounds the TCP part of what cc dials, and has d hear of how far it comes. cc's ValidateConnect must not be nil.
func (d *Dial) Bound(cc *pgx.ConnConfig) {
	d.within = cc.ConnectTimeout
	dial, validate := cc.DialFunc, cc.ValidateConnect
	cc.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, d.login.connect())
		defer cancel()
		nc, err := dial(ctx, network, addr)
		if now := time.Now(); err == nil && !d.over.Load() {
			d.accepted.Store(&now)
		}
		return nc, err
	}
	cc.ValidateConnect = func(ctx context.Context, pc *pgconn.PgConn) error {
		if at := d.accepted.Load(); at != nil {
			d.login.took(time.Since(*at)) // it has just logged in
		}
		return validate(ctx, pc)
	}
}

// Over ends d, which has ended with err. It is err, or what that says of a server that is silent.
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

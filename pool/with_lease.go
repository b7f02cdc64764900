package pool

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/session"
)

// Acquire is [Pool.Acquire] for a lease whose session has b's settings, as by SET, until its Release, or the end of its scope. All that runs on it
// sees them: text of several statements, a transaction, and what is sent by its Conn. To set them is one round trip. The reset in front of the next
// user's first statement takes them away, with all else that is left.
//
// It needs a session of its own, and the reset: behind a pooler, and with [Config.Isolation] off, it is an error. Use Begin or [InTx] there, whose settings are
// the transaction's. So is a setting of one transaction, such as transaction_read_only. With [Config.Plain], Release closes the connection.
func (b *Bound) Acquire(ctx context.Context) (*Lease, error) {
	if b.err != nil {
		return nil, b.err
	}
	for name := range b.s.Values {
		if strings.HasPrefix(name, "transaction_") {
			return nil, pgerr.Say[pgerr.SettingsError](fmt.Sprintf("lmipool: With: setting %q ends with a transaction, so a lease cannot have it: use BeginTx", name))
		}
	}
	var l *Lease
	err := b.p.rerun(ctx, func(bool) (_ *Lease, err error) {
		if l, err = b.p.Acquire(ctx); err != nil {
			return nil, err
		}
		if c, plain := l.lent.(*pgxpool.Conn); plain {
			l = leaseOf(&withLease{lent: c, c: c, p: b.p})
			err = withSettings(b.s, setIn(ctx, c.Conn().PgConn(), b.s))
		} else {
			err = nothingLost("the connection was lost when its settings were set", l.setInSession(ctx, b.s))
		}
		if err != nil {
			l.Release()
		}
		return l, err
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

// AcquireFunc is [Pool.AcquireFunc] with such a lease.
func (b *Bound) AcquireFunc(ctx context.Context, f func(*Lease) error) error {
	if f == nil {
		return errNoFunc
	}
	l, err := b.Acquire(ctx)
	if err != nil {
		return err
	}
	defer l.Release()
	return f(l)
}

// errSharedSession is for a session that may be somebody else's, or that nobody resets.
var errSharedSession = pgerr.Say[pgerr.SettingsError]("lmipool: With: a lease cannot have settings here, since nothing would take them away: behind a pooler the session is " +
	"somebody else's at the next transaction, and with Isolation off nobody resets it: use Begin, BeginTx or InTx")

// setInSession sets s in the session of l, which has just been acquired.
func (l *Lease) setInSession(ctx context.Context, s *session.Settings) error {
	if _, err := l.enter("set settings"); err != nil {
		return err
	}
	defer l.leave()
	if !l.c.reach.Own() || !l.c.reach.Isolates() {
		return errSharedSession
	}
	if err := ctx.Err(); err != nil {
		return pgerr.Unsent("what sets the settings", err)
	}
	if _, err := l.announce(ctx, s.Lasting(), nil, false); err != nil {
		return err
	}
	return withSettings(s, l.c.wrapError(setIn(ctx, l.c.pg.PgConn(), s)))
}

// setIn sets s in the session of pc. No tracer sees the values.
func setIn(ctx context.Context, pc *pgconn.PgConn, s *session.Settings) error {
	return pc.ExecParams(ctx, s.Lasting(), s.LastingParams(), nil, nil, nil).Read().Err
}

// withSettings is err, of what sets s, as With tells it.
func withSettings(s *session.Settings, err error) error {
	if pg, ok := err.(*pgconn.PgError); ok { //nolint:errorlint // others say what has become of the connection
		return pgerr.Wrap[pgerr.SettingsError](fmt.Errorf("lmipool: With: %w", s.Without(pg)))
	}
	return err
}

// withLease is a plain lease whose session has settings. Nothing of pgxpool's takes them away.
type withLease struct {
	lent     // c
	c        *pgxpool.Conn
	p        *Pool
	released bool
}

// Release closes the connection, in the background.
func (w *withLease) Release() {
	if w.released {
		return
	}
	w.released = true
	c := w.c.Hijack()
	w.p.background("close", func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		_ = c.Close(ctx)
	})
}

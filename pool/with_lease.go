package pool

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/internal/gostack"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/session"
)

// Acquire is [Pool.Acquire], and then sets b's settings in the lease's session, as SET does, which costs one round trip. The settings hold until
// Release, or the end of the scope, for all that runs on the lease, also for what is sent by its Conn. The reset in front of the next user's first
// statement takes them away.
//
// Acquire returns an error behind a pooler, where the session may be another client's at the next transaction, and if [Config.Isolation] is off, since
// nothing would take the settings away. Use Begin or [InTx] there, whose settings end with the transaction. Acquire returns an error, too, for the
// setting transaction_read_only, which ends with each transaction. With [Config.Plain], Release closes the connection.
func (b *Bound) Acquire(ctx context.Context) (*Lease, error) {
	var at gostack.Site
	at.Capture(1, 5)
	return b.acquireAt(ctx, &at)
}

// acquireAt is Acquire for a caller at the place at.
func (b *Bound) acquireAt(ctx context.Context, at *gostack.Site) (*Lease, error) {
	if err := b.fault(); err != nil {
		return nil, err
	}
	if b.p.cfg.Upstream.shares() {
		return nil, errSharedSession
	}
	if _, has := b.s.Values["transaction_read_only"]; has { // With refuses the other settings that end with a transaction
		return nil, errEndsWithTx
	}
	var l *Lease
	err := b.p.rerun(ctx, func(bool) (_ *Lease, err error) {
		if l, err = b.p.acquireAt(ctx, at); err != nil {
			return nil, err
		}
		if c, plain := l.lent.(*pgxpool.Conn); plain {
			if err = b.p.dialer.ownsSession(ctx, c.Conn().PgConn()); err == nil {
				l = leaseOf(&withLease{lent: c, p: b.p})
				sql, params := b.s.Lasting()
				err = withSettings(b.s, setIn(ctx, c.Conn(), sql, params))
			}
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

// AcquireFunc is [Pool.AcquireFunc], but acquires the lease with b's Acquire.
func (b *Bound) AcquireFunc(ctx context.Context, f func(*Lease) error) error {
	return acquireFunc(ctx, b.Acquire, f)
}

// errSharedSession is Bound.Acquire's error for a session that other clients may use, or that is not reset.
var errSharedSession = pgerr.Wrap[pgerr.SettingsError](pgerr.Config(errors.New("lmipool: With: a lease cannot have settings here, since nothing would take them away: " +
	"behind a pooler the session is somebody else's at the next transaction, and with Isolation off nobody resets it: use Begin, BeginTx or InTx")))

var errEndsWithTx = pgerr.Say[pgerr.SettingsError](`lmipool: With: setting "transaction_read_only" ends with a transaction, so a lease cannot have it: use BeginTx`)

// ownsSession returns errSharedSession if pc leads to a pooler, unless the user has set Upstream. With Config.Plain no dial has found that out.
func (d *dialer) ownsSession(ctx context.Context, pc *pgconn.PgConn) error {
	if d.told.upstream {
		return nil
	}
	who, err := session.WhoAnswers(ctx, pc)
	if err == nil && who.PID != pc.PID() {
		err = errSharedSession
	}
	return err
}

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
		return pgerr.Unsent("what sets the settings", pgerr.EndedBefore(err))
	}
	sql, params := s.Lasting()
	if _, err := l.announce(ctx, sql, nil, false); err != nil {
		return err
	}
	return withSettings(s, l.c.wrapError(setIn(ctx, l.c.pg, sql, params)))
}

// setIn runs sql, which sets settings, on c. It does so without pgx's methods, so that no tracer sees the values in params.
func setIn(ctx context.Context, c *pgx.Conn, sql string, params [][]byte) error {
	return c.PgConn().ExecParams(ctx, sql, params, nil, nil, nil).Read().Err
}

// withSettings returns err, the error of the statement that sets s, as a SettingsError without s's values, since they may be secrets.
func withSettings(s *session.Settings, err error) error {
	if pg, ok := err.(*pgconn.PgError); ok { //nolint:errorlint // a wrapped PgError says what happened to the connection, and is returned as it is
		return pgerr.Wrap[pgerr.SettingsError](fmt.Errorf("lmipool: With: %w", s.Without(pg)))
	}
	return err
}

// withLease is a lease with Config.Plain whose session has settings. pgxpool would not take them away, so Release closes the connection.
type withLease struct {
	lent     // is a *pgxpool.Conn
	p        *Pool
	released bool
}

// Release closes the connection in the background, and then gives it back to pgxpool, which discards closed connections.
func (w *withLease) Release() {
	if w.released {
		return
	}
	w.released = true
	w.p.background("close", func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		defer w.lent.Release()
		_ = w.lent.Conn().Close(ctx)
	})
}

package pool

import (
	"context"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/gostack"
	"github.com/lmipool/lmipool/internal/pgxargs"
	"github.com/lmipool/lmipool/internal/session"
)

// The methods here are for a caller who has to behave like one session, but wants a connection only while that makes a difference. Package stdlib is one.

// NeedsSession reports whether sql needs the same session as the statements before and after it: it may leave something in its session, its result may
// depend on what is there, or too little is known of sql. A statement that does not need one can run on the pool. NeedsSession asks no server.
func (p *Pool) NeedsSession(ctx context.Context, sql string, args ...any) bool {
	p.on()
	return p.needsSession(ctx, nil, sql, args)
}

// NeedsSession is [Pool.NeedsSession]. It is true for every statement if b's settings are PostgreSQL's own.
func (b *Bound) NeedsSession(ctx context.Context, sql string, args ...any) bool {
	return b.fault() != nil || b.p.needsSession(ctx, b.s, sql, args)
}

func (p *Pool) needsSession(ctx context.Context, with *session.Settings, sql string, args []any) bool {
	o := pgxargs.Parse(args)
	text, _, ok := o.Rewritten(ctx, sql)
	return !ok || p.cfg.Plain == On || !with.Custom() || len(text) > catalog.MaxText || p.lanes.Catalog.Find(text, with.Key()).NeedsSession()
}

// AcquireFor acquires a lease and calls f with it. f makes one call on the lease, and returns that call's error. If the call certainly did not run,
// because the connection was lost or the server is no writer any more, f is called again with another lease, as [Pool.Exec] runs a statement again.
//
// AcquireFor returns the lease with f's error, and the caller releases the lease in either case. The lease is nil if there is none.
func (p *Pool) AcquireFor(ctx context.Context, f func(*Lease) error) (*Lease, error) {
	return p.acquireFor(ctx, p.acquireAt, f)
}

// AcquireFor is [Pool.AcquireFor], but acquires the lease with b's Acquire.
func (b *Bound) AcquireFor(ctx context.Context, f func(*Lease) error) (*Lease, error) {
	if err := b.fault(); err != nil {
		return nil, err
	}
	return b.p.acquireFor(ctx, b.acquireAt, f)
}

func (p *Pool) acquireFor(ctx context.Context, acquire func(context.Context, *gostack.Site) (*Lease, error), f func(*Lease) error) (l *Lease, err error) {
	if f == nil {
		return nil, errNoFunc
	}
	var at gostack.Site
	at.Capture(6, gostack.Deep) // without the driver's functions and two of database/sql's, which would take most of the room
	p.on()
	returned := false
	defer func() {
		if !returned && l != nil { // f has panicked
			l.Release()
		}
	}()
	err = p.rerun(ctx, func(bool) (*Lease, error) {
		if l != nil {
			l.Release()
		}
		if l, err = acquire(ctx, &at); err != nil {
			l = nil
			return nil, err
		}
		if err = f(l); l.stale(err) {
			err = f(l)
		}
		if _, pooled := l.lent.(leased); !pooled {
			return nil, err
		}
		return l, err
	})
	returned = true
	return l, err
}

// stale is conn.stale for the last call on l.
func (l *Lease) stale(err error) bool {
	if _, pooled := l.lent.(leased); !pooled || err == nil || l.resume() != nil {
		return false
	}
	defer l.leave()
	return l.c.stale(err)
}

// Describe asks the server for the parameters and columns of sql, which it does not run. It leaves nothing in the session.
func (l *Lease) Describe(ctx context.Context, sql string) (*pgconn.StatementDescription, error) {
	if _, pooled := l.on().(leased); !pooled {
		return l.lent.Conn().PgConn().Prepare(ctx, "", sql, nil)
	}
	mustHave(ctx)
	c, err := l.enter(sql)
	if err != nil {
		return nil, err
	}
	defer l.leave()
	sd, err := c.PgConn().Prepare(ctx, "", sql, nil)
	return sd, l.c.wrapError(err)
}

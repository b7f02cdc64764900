package pgcancel

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
)

// Options are those of [Limiter.Install].
type Options struct {
	Wait    time.Duration                  // how long the answer to a cancel request is waited for; negative: pgx's own way
	UserOwn bool                           // a ctxwatch.Handler of the user's does the work
	Later   bool                           // the session has begun with Begun, not with the login
	Go      func(what string, f func())    // runs f in a goroutine that somebody waits for
	Dialing func(ctx context.Context) bool // reports whether ctx is that of a dial, not of what pgx does after one
}

// stage is how far a connection has come.
type stage struct {
	begun  atomic.Bool // its session has begun: there may be something to cancel
	opened atomic.Bool // what it dials from now on are cancel connections
}

// key is where pgx keeps the canceler of a connection for us.
const key = "lmipool.canceler"

// Install gives the connection that cc is for its [Canceler]. It is the last to change cc's DialFunc and
// ValidateConnect, which must not be nil.
func (l *Limiter) Install(cc *pgx.ConnConfig, o Options) {
	s, theirs, validate := new(stage), cc.BuildContextWatcherHandler, cc.ValidateConnect
	cc.DialFunc = l.dial(s, o.Dialing, cc.DialFunc)
	cc.ValidateConnect = func(ctx context.Context, pc *pgconn.PgConn) error {
		s.begun.Store(!o.Later)
		return validate(ctx, pc)
	}
	cc.BuildContextWatcherHandler = func(pc *pgconn.PgConn) ctxwatch.Handler {
		c := newCanceler(l, s, pc, o)
		pc.CustomData()[key] = c
		if o.UserOwn {
			return theirs(pc)
		}
		return c
	}
}

// Of is the canceler of a connection, whose login is over; nil if none was installed.
func Of(pc *pgconn.PgConn) *Canceler {
	c, _ := pc.CustomData()[key].(*Canceler)
	return c
}

// Begun notes that the session has begun, for Options.Later: from now on there may be something to cancel.
func (c *Canceler) Begun() { c.stage.begun.Store(true) }

// Opened notes that the dial is over: what is dialed from now on are cancel connections.
func (c *Canceler) Opened() { c.stage.opened.Store(true) }

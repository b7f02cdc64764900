package pool

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
)

// cancelOptions are those of one connection.
type cancelOptions struct {
	Wait    time.Duration                  // how long the answer to a cancel request is waited for; negative: pgx's own way
	UserOwn bool                           // a handler of the user's does the work
	Later   bool                           // the session has begun when Begun is called, not when the login is over
	Go      func(what string, f func())    // runs f in a goroutine that somebody waits for
	Dialing func(ctx context.Context) bool // reports whether ctx is that of a dial, not of what pgx does after one
}

// cancelStage is how far a connection has come.
type cancelStage struct {
	begun  atomic.Bool // its session has begun: there may be something to cancel
	opened atomic.Bool // what it dials from now on are cancel connections
}

// cancelerKey is where pgx keeps the canceler of a connection for us.
const cancelerKey = "lmipool.canceler"

// Install gives the connection that cc is for its canceler.
func (n *cancels) Install(cc *pgx.ConnConfig, o cancelOptions) {
	s, theirs, validate := new(cancelStage), cc.BuildContextWatcherHandler, cc.ValidateConnect
	cc.DialFunc = n.dial(s, o.Dialing, cc.DialFunc)
	cc.ValidateConnect = func(ctx context.Context, pc *pgconn.PgConn) error {
		s.begun.Store(!o.Later)
		return validate(ctx, pc)
	}
	cc.BuildContextWatcherHandler = func(pc *pgconn.PgConn) ctxwatch.Handler {
		h := newCanceler(n, s, pc, o)
		pc.CustomData()[cancelerKey] = h
		if o.UserOwn {
			return theirs(pc)
		}
		return h
	}
}

// cancelerOf is the canceler of a connection.
func cancelerOf(pc *pgconn.PgConn) *canceler {
	h, _ := pc.CustomData()[cancelerKey].(*canceler)
	return h
}

// Begun notes that the session has begun: from now on it can be cancelled.
func (h *canceler) Begun() { h.stage.begun.Store(true) }

// Opened notes that the dial is over: what is dialed from now on are cancel connections.
func (h *canceler) Opened() { h.stage.opened.Store(true) }

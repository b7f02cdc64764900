package pgcancel

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/pgerr"
)

// Options are those of [Limiter.Install].
type Options struct {
	Wait    time.Duration                  // how long the answer to a cancel request is waited for; negative: pgx's own way
	UserOwn bool                           // a ctxwatch.Handler of the user's does the work
	Later   bool                           // the session has begun with Begun, not with the login
	Go      func(what string, f func())    // runs f in a goroutine that somebody waits for
	Dialing func(ctx context.Context) bool // reports whether ctx is that of a dial, not of what pgx does after one
}

// Canceler is the ctxwatch.Handler of one connection. pgx calls it when the ctx of a running statement ends, and again when that
// statement has its answer or was given up. The caller waits for that and no longer; whatever the connection carries next waits for Settle.
type Canceler struct {
	pc    *pgconn.PgConn
	nc    net.Conn
	stage *stage
	lost  *atomic.Int64 // the limiter's
	o     Options
	off   bool        // always pgx's way, or the user's
	ready func() bool // what runs is the statement itself; nil: always

	mode atomic.Uint32           // a Mode; the owner's
	req  atomic.Pointer[request] // of the last statement, until that is settled; nil: its ctx did not end

	mu   sync.Mutex
	over bool // the connection is being closed: its deadline is not ours
}

// stage is how far a connection has come.
type stage struct {
	begun  atomic.Bool // its session has begun: there may be something to cancel
	opened atomic.Bool // what it dials from now on are cancel connections
}

// Begun notes that the session has begun, for Options.Later, and Opened that the dial is over.
func (c *Canceler) Begun()  { c.stage.begun.Store(true) }
func (c *Canceler) Opened() { c.stage.opened.Store(true) }

// Ready has a request wait until ready returns true: until then something runs that is not the caller's. It is called before use.
func (c *Canceler) Ready(ready func() bool) { c.ready = ready }

// Mode says what the end of a ctx does to what a connection runs.
type Mode uint32

const (
	asPgx    Mode = iota // pgx's own way: the socket's deadline is over, the connection lost
	asks                 // the server is asked to stop it; then the connection is as good as before
	waitOnly             // its answer is waited for, and that is all: it is a COMMIT, say
)

// Lent is called when a lease gets the connection.
func (c *Canceler) Lent() { c.Restore(asks) }

// AsPgx gives the connection pgx's own way: nobody has it now, or a hook, or its user has it raw. None of their calls passes Settle, and
// WaitForNotification is used with a timeout.
func (c *Canceler) AsPgx() { c.Restore(asPgx) }

// WaitOnly has the end of a ctx wait for the answer and do no more, until Restore is called with what it returns.
func (c *Canceler) WaitOnly() (was Mode) {
	was = Mode(c.mode.Load())
	c.Restore(waitOnly)
	return was
}

// Restore ends what WaitOnly has begun.
func (c *Canceler) Restore(was Mode) {
	if !c.off {
		c.mode.Store(uint32(was))
	}
}

// Uncancelable runs a call that does no more than begin or end a transaction. pgx closes the connection if its ctx ends before or
// meanwhile, however quickly it answers; to cancel a COMMIT means not to know what became of it or, while it waits for a standby,
// to have it reported before the standby has it. So when ctx ends its answer is waited for, as for any other, and nothing else is done.
func (c *Canceler) Uncancelable(ctx context.Context, call func(context.Context) error) (err error) {
	if c.off {
		return call(ctx)
	}
	defer c.Restore(c.WaitOnly())
	if ctx.Done() == nil {
		return c.Explain(call(ctx))
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		c.Cancel(ctx.Err())
	})
	defer func() { // also when a tracer panics: ctx's end must not stop what the next user runs
		if !stop() {
			<-ended
			c.Answered()
		}
		err = c.Explain(err)
	}()
	return call(context.WithoutCancel(ctx))
}

func (c *Canceler) HandleCancel(ctx context.Context) { c.Cancel(ctx.Err()) }

// Cancel ends what runs because of why. It does not wait.
func (c *Canceler) Cancel(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, mode, r := time.Now(), Mode(c.mode.Load()), c.req.Load()
	switch {
	case c.over:
	case mode == asPgx, r != nil && r.ended: // of the latter there is none: nothing runs that is not settled
		_ = c.nc.SetDeadline(now)
	case r == nil:
		r = newRequest(&c.mu, why)
		r.deadline = now.Add(c.o.Wait)
		_ = c.nc.SetDeadline(r.deadline)
		c.req.Store(r)
		if mode == waitOnly {
			r.neverAsk()
		} else {
			c.o.Go("cancel", func() { r.ask(c.pc, c.ready) })
		}
	}
}

// HandleUnwatchAfterCancel is called in the caller's goroutine.
func (c *Canceler) HandleUnwatchAfterCancel() {
	c.Answered()
	if r := c.req.Load(); r != nil && Mode(c.mode.Load()) == asPgx && !c.pc.IsClosed() {
		// The user took the connection meanwhile, and nothing stands between him and it.
		if r.await(c.o.Wait) {
			c.req.Store(nil)
		} else {
			_ = c.nc.SetDeadline(time.Now())
		}
	}
}

// Answered notes that what was cancelled has its answer, or was given up. It is the owner's, and does nothing if there is nothing to note.
func (c *Canceler) Answered() {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, now := c.req.Load(), time.Now()
	closed := c.over || c.pc.IsClosed()
	if !closed {
		_ = c.nc.SetDeadline(time.Time{})
	}
	if r == nil || r.ended {
		return
	}
	r.endLocked()
	if !closed && now.Before(r.deadline) { // else the server still has to hear of what was given up
		r.withdrawLocked()
	}
}

// Extend gives a call of the owner's time that reads on under a ctx that had ended before it: what the server had sent may all be there.
func (c *Canceler) Extend() {
	r := c.req.Load()
	if r == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); !c.over && !r.ended && now.After(r.deadline) {
		r.deadline = now.Add(c.o.Wait)
		_ = c.nc.SetDeadline(r.deadline)
	}
}

// Pending reports whether the ctx of the last statement has ended, and that is not settled.
func (c *Canceler) Pending() bool { return c.req.Load() != nil }

// Settle makes sure, for the owner, that no cancel request of the last statement hits what the connection carries next: see doc.go. false:
// the connection is good for nothing but to be closed.
func (c *Canceler) Settle(atMost time.Duration) bool {
	r := c.req.Load()
	if r == nil {
		return true
	}
	if !r.await(atMost) {
		return false
	}
	if r.asked {
		_ = c.nc.SetDeadline(time.Now().Add(atMost))
		_ = c.pc.Exec(context.Background(), "-- absorbs a cancel request").Close() // 57014 is what it is for
	}
	if c.pc.IsClosed() {
		return false
	}
	_ = c.nc.SetDeadline(time.Time{})
	c.req.Store(nil)
	return true
}

// GivenUp counts the connection among those that were lost to a cancel request.
func (c *Canceler) GivenUp() { c.lost.Add(1) }

// Close notes that the connection is being closed, by whom deadlines are set from now on.
func (c *Canceler) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if r := c.req.Load(); r != nil {
		r.endLocked()
	}
}

// Explain adds to err, of the last statement, that the ctx had ended, if that is behind it.
func (c *Canceler) Explain(err error) error {
	r := c.req.Load()
	if err == nil || r == nil || errors.Is(err, r.why) {
		return err
	}
	var pg *pgconn.PgError
	var netErr net.Error
	if errors.As(err, &pg) && pg.Code == "57014" || errors.As(err, &netErr) && netErr.Timeout() {
		return pgerr.Canceled(r.why, err)
	}
	return err
}

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
	Wait    time.Duration                  // how long the answer to a cancel request is waited for; negative: pgx's own way is used
	UserOwn bool                           // a ctxwatch.Handler of the user's is used
	Later   bool                           // the session begins with a call of Begun, not with the login
	Go      func(what string, f func())    // runs f in a goroutine that somebody waits for
	Dialing func(ctx context.Context) bool // reports whether ctx is that of a dial, not of what pgx does after one
}

// Canceler is the ctxwatch.Handler of one connection. pgx calls it when the ctx of a running statement ends, and again when that statement has
// its answer or was given up. The caller waits no longer than that; what the connection carries next waits for Settle.
type Canceler struct {
	pc    *pgconn.PgConn
	nc    net.Conn
	stage *stage
	lost  *atomic.Int64 // the limiter's
	o     Options
	off   bool        // pgx's own way is used, or the user's handler
	ready func() bool // see Opened

	mode atomic.Uint32           // a Mode; only the owner sets it
	req  atomic.Pointer[request] // of the last statement, until that is settled; nil: its ctx did not end

	mu   sync.Mutex
	over bool // the connection is being closed: deadlines are set elsewhere
}

// stage is how far a connection has come.
type stage struct {
	begun  atomic.Bool // its session has begun: there may be something to cancel
	opened atomic.Bool // what it dials from now on are cancel connections
}

// Begun notes that the session has begun, for Options.Later.
func (c *Canceler) Begun() { c.stage.begun.Store(true) }

// Opened notes that the dial is over. A request waits until ready returns true: until then something runs that is not the caller's.
func (c *Canceler) Opened(ready func() bool) {
	c.ready = ready
	c.stage.opened.Store(true)
}

// Mode says what the end of a ctx does to the statement that a connection runs.
type Mode uint32

const (
	asPgx    Mode = iota // pgx's own way: the socket's deadline is set to now, and the connection is lost
	asks                 // the server is asked to stop it; afterwards the connection is as good as before
	waitOnly             // its answer is waited for, and nothing else is done: it is a COMMIT, for example
)

// Lent is called when a lease gets the connection.
func (c *Canceler) Lent() { c.Restore(asks) }

// AsPgx sets pgx's own way, for a connection that nobody has, or a hook, or a user who has it raw. None of these calls Settle, and users call
// WaitForNotification with a timeout.
func (c *Canceler) AsPgx() { c.Restore(asPgx) }

// WaitOnly makes the end of a ctx wait for the answer and do nothing else, until Restore is called with what it returns.
func (c *Canceler) WaitOnly() (was Mode) {
	was = Mode(c.mode.Load())
	c.Restore(waitOnly)
	return was
}

func (c *Canceler) Restore(was Mode) {
	if !c.off {
		c.mode.Store(uint32(was))
	}
}

// Uncancelable runs a call that does nothing but begin or end a transaction. If ctx ends, the answer is waited for, and nothing else is done. pgx
// would close the connection, however quickly the answer comes. And a COMMIT that is cancelled has an unknown outcome; or, if it was waiting for
// a synchronous standby, it is reported as done before the standby has it.
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
	defer func() { // also when a tracer panics: the end of ctx must not stop what the next user runs
		if !stop() {
			<-ended
			c.Answered()
		}
		err = c.Explain(err)
	}()
	return call(context.WithoutCancel(ctx))
}

func (c *Canceler) HandleCancel(ctx context.Context) { c.Cancel(ctx.Err()) }

// Cancel stops what runs, because of why. It does not wait.
func (c *Canceler) Cancel(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, mode, r := time.Now(), Mode(c.mode.Load()), c.req.Load()
	switch {
	case c.over:
	case mode == asPgx, r != nil && r.ended: // the second cannot happen: nothing runs before Settle
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

// HandleUnwatchAfterCancel is called in the goroutine of the statement's caller.
func (c *Canceler) HandleUnwatchAfterCancel() {
	c.Answered()
	if r := c.req.Load(); r != nil && Mode(c.mode.Load()) == asPgx && !c.pc.IsClosed() {
		// The user has taken the raw connection meanwhile, so Settle will not be called before he uses it.
		if r.await(c.o.Wait) {
			c.req.Store(nil)
		} else {
			_ = c.nc.SetDeadline(time.Now())
		}
	}
}

// Answered notes that what was cancelled has its answer or was given up. Only the owner calls it. It does nothing if nothing was cancelled.
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
	if !closed && now.Before(r.deadline) { // otherwise it was given up, and the server still has to stop it
		r.withdrawLocked()
	}
}

// Extend gives more time to a call of the owner's that goes on reading under a ctx that had ended before: all of the answer may be there already.
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

// Pending reports whether the ctx of the last statement has ended and Settle has not returned true since.
func (c *Canceler) Pending() bool { return c.req.Load() != nil }

// Why returns the error of the ctx that Pending is about; nil: Pending is false.
func (c *Canceler) Why() error {
	if r := c.req.Load(); r != nil {
		return r.why
	}
	return nil
}

// Settle makes sure, for the owner, that no cancel request of the last statement hits what the connection carries next: see doc.go. If it returns
// false, the connection must be closed.
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
		_ = c.pc.Exec(context.Background(), "-- absorbs a cancel request").Close() // it may fail with 57014, which is its purpose
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

// Close notes that the connection is being closed. From now on whoever does that sets its deadlines.
func (c *Canceler) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if r := c.req.Load(); r != nil {
		r.endLocked()
	}
}

// Explain adds to err, of the last statement, that the ctx had ended, if err comes from that.
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

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

// Canceler is the ctxwatch.Handler of one connection. pgx calls it when the ctx of a
// running statement ends, and again when that statement has its answer or was given up.
//
// The caller waits for the answer to his statement and no longer: a cancel connection
// is made and waited for in the background. Until the server has closed it the request
// may still hit whatever runs, so before the connection carries anything else there is
// [Canceler.Settle].
//
// Hooks, and a user who has the raw *pgx.Conn, get pgx's own way: none of their calls
// passes Settle, and WaitForNotification is used with a timeout.
type Canceler struct {
	l     *Limiter
	pc    *pgconn.PgConn
	nc    net.Conn
	stage *stage
	o     Options
	off   bool        // always pgx's way, or the user's
	ready func() bool // what runs is the statement itself; nil: always

	mode atomic.Uint32           // the owner's; of mode.go
	req  atomic.Pointer[request] // of the last statement, until that is settled; nil: its ctx did not end

	mu   sync.Mutex
	over bool // the connection is being closed: its deadline is not ours
}

func newCanceler(l *Limiter, s *stage, pc *pgconn.PgConn, o Options) *Canceler {
	return &Canceler{l: l, pc: pc, nc: pc.Conn(), stage: s, o: o, off: o.UserOwn || o.Wait < 0}
}

// Ready has a request wait until ready returns true: until then something runs that is not the
// caller's. It is called once, before the connection is used.
func (c *Canceler) Ready(ready func() bool) { c.ready = ready }

func (c *Canceler) HandleCancel(ctx context.Context) { c.Cancel(ctx.Err()) }

// Cancel ends what runs because of why. It does not wait.
func (c *Canceler) Cancel(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, mode, r := time.Now(), Mode(c.mode.Load()), c.req.Load()
	switch {
	case c.over:
		return
	case mode == asPgx, r != nil && r.ended: // of the latter there is none: nothing runs that is not settled
		_ = c.nc.SetDeadline(now)
		return
	case r != nil:
		return
	}
	r = newRequest(c, why, now.Add(c.o.Wait))
	_ = c.nc.SetDeadline(r.deadline)
	c.req.Store(r)
	if mode == waitOnly {
		r.neverAsk()
		return
	}
	c.o.Go("cancel", r.ask)
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

// Answered notes that what was cancelled has its answer, or was given up. It is the
// owner's, and does nothing if there is nothing to note.
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

// Extend gives a call that reads on under a ctx that had ended before it the time to do
// so: what the server sent before it heard of that may all be there.
func (c *Canceler) Extend() {
	if c.req.Load() == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r, now := c.req.Load(), time.Now()
	if r != nil && !c.over && !r.ended && now.After(r.deadline) {
		r.extendLocked(now.Add(c.o.Wait))
		_ = c.nc.SetDeadline(r.deadline)
	}
}

// Pending reports whether the ctx of the last statement has ended, and that is not settled.
func (c *Canceler) Pending() bool { return c.req.Load() != nil }

// Settle makes sure that no cancel request of the last statement hits what the connection carries
// next: it waits for the end of the cancel connection, and lets the server say something
// harmless, which absorbs what a pooler passes on late. It is the owner's. false: the connection is
// good for nothing but to be closed.
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
func (c *Canceler) GivenUp() { c.l.lost.Add(1) }

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
	if err == nil {
		return nil
	}
	r := c.req.Load()
	if r == nil || errors.Is(err, r.why) {
		return err
	}
	var pg *pgconn.PgError
	var netErr net.Error
	if errors.As(err, &pg) && pg.Code == "57014" || errors.As(err, &netErr) && netErr.Timeout() {
		return pgerr.Canceled(r.why, err)
	}
	return err
}

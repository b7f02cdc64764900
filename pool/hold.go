package pool

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/isolation"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// hold is a user's hold on a connection: whether the user has it, and what runs on it. Only this file writes it.
type hold struct {
	c   *conn         // nil before start
	use isolation.Use // of its session; only the caller between enter and leave uses it

	mu       sync.Mutex
	state    leaseState
	calling  bool   // a call into pgx is running, or stuck
	stuck    bool   // the call has returned to its caller, but a value that it was given is still being encoded
	inTx     bool   // after the last call there was a transaction
	raw      bool   // the user has, or may have, the *pgx.Conn itself
	reported bool   // the open result was logged
	calls    uint32 // the number of calls so far
	rest     rest
	left     chan struct{} // closed when the call that runs is over; made by end
	result   result        // Rows or BatchResults that are still open
	resultAt time.Time     // since when
	since    time.Time     // when the connection was got
	sql      string        // what runs, or ran last

	uncheck context.CancelFunc // ends the checks of its connection before it gets it; nil: none run
}

type leaseState uint8

const (
	leasePending leaseState = iota // waiting for its connection
	leaseActive
	leaseReleased
	leaseEnded  // by the end of its scope
	leaseClosed // by Shutdown
)

// result is what keeps a connection busy between calls.
type result interface{ closeResult() }

// rest is how housekeeping notices that a lease does nothing. It compares the number of calls between two rounds, so no call has to read the clock.
type rest struct {
	calls    uint32    // the number last seen
	since    time.Time // when it was first seen, and no call was running
	reported bool      // as idle in a transaction
}

// active reports whether h has its connection, and has not ended.
func (h *hold) active() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state == leaseActive
}

// released reports whether h's user has given the connection back.
func (h *hold) released() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state == leaseReleased
}

// wants notes what the connection is asked for.
func (h *hold) wants(sql string) { h.sql = sql }

// checking returns the ctx for the checks of a connection that h is about to get. It ends with h.
func (h *hold) checking(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.uncheck = cancel
	if h.state != leasePending {
		cancel()
	}
	return ctx, cancel
}

// lend prepares c for h, which is about to get it.
func (h *hold) lend(c *conn) {
	h.c = c
	c.cancel.Lent()
}

// start makes h the owner of what it was lent, and returns false if h has ended meanwhile.
func (h *hold) start() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state != leasePending {
		return false
	}
	h.state, h.since = leaseActive, h.c.place.Since()
	return true
}

// enter begins a call into pgx that sends something. Every exit from it goes through leave.
func (h *hold) enter(sql string) (*pgx.Conn, error) {
	if err := h.call(sql); err != nil {
		return nil, err
	}
	pc := h.c.pg.PgConn()
	if !h.c.cancel.Pending() || pc.IsClosed() || pc.IsBusy() {
		return h.c.pg, nil
	}
	settled := h.c.cancel.Settle(h.c.p.cfg.cancelWait())
	h.leave()
	if !settled {
		return nil, errUnsettled
	}
	if err := h.call(sql); err != nil { // the invocation may have ended while Settle waited
		return nil, err
	}
	return h.c.pg, nil
}

// resume begins a call that goes on reading a result that an earlier call has opened. Every exit from it goes through leave.
func (h *hold) resume() error {
	if err := h.call(""); err != nil {
		return err
	}
	h.c.cancel.Extend()
	return nil
}

// call is the common part of enter and resume.
func (h *hold) call(sql string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.state == leaseReleased:
		return errReleased
	case h.state == leaseEnded:
		return ErrInvocationEnded
	case h.state == leaseClosed:
		return ErrClosed
	case h.calling && h.stuck:
		return errStuck
	case h.calling:
		return errBusy
	}
	h.calling = true
	h.calls++
	h.use.Enter(h.calls, sql != "", h.result != nil)
	if sql != "" {
		h.sql = sql
	}
	return nil
}

func (h *hold) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calling, h.stuck = false, false
	status := h.c.pg.PgConn().TxStatus()
	h.inTx = status != 'I'
	h.use.Leave(status, h.raw)
	if h.left != nil {
		close(h.left)
		h.left = nil
	}
}

// leaveAfter calls leave when done is closed: a value that the call was given is in use until then.
func (h *hold) leaveAfter(done <-chan struct{}) {
	h.mu.Lock()
	h.stuck = true
	h.mu.Unlock()
	go func() {
		<-done
		h.leave()
	}()
}

// opened and closed keep track of the result that occupies the connection. Both run between enter and leave.
func (h *hold) opened(r result) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.result, h.resultAt, h.reported = r, time.Now(), false
}

func (h *hold) closed(r result) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.result == r {
		h.result = nil
	}
}

func (h *hold) hasResult() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.result != nil
}

// tookRaw notes that the user has the connection itself, and returns false if h has ended.
func (h *hold) tookRaw() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state != leaseActive {
		return false
	}
	h.raw = true
	h.c.types.Lend()
	h.use.Lend(h.calling)
	h.c.cancel.AsPgx()
	return true
}

// gaveRaw reports whether the user has the connection itself.
func (h *hold) gaveRaw() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.raw
}

// holdsBegin reports whether a BEGIN is held back and no call is running that would send it.
func (h *hold) holdsBegin() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.state == leaseActive && !h.calling && h.c.wire.BeginDeferred()
}

// end takes the connection from its user. Only the first time was is leaseActive, or leasePending if the user has not got it yet. If a call is
// running, left is closed when that is over. quiet means that no call is running and no result is open.
func (h *hold) end(why leaseState) (was leaseState, left chan struct{}, quiet bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch was = h.state; was {
	case leasePending: // start will see it
		h.state = why
		if h.uncheck != nil {
			h.uncheck()
		}
	case leaseActive:
		h.state = why
		if h.calling {
			h.left = make(chan struct{})
		}
	}
	return was, h.left, h.left == nil && h.result == nil
}

// take returns the result that is still open, if any, after end.
func (h *hold) take() result {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.result
	h.result = nil
	return r
}

// held returns how long h has had its connection.
func (h *hold) held(now time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.since.IsZero() { // it is still being checked
		return 0
	}
	return now.Sub(h.since)
}

// holder returns a Holder of h without scope and stack.
func (h *hold) holder(now time.Time) Holder {
	held := h.held(now)
	h.mu.Lock()
	defer h.mu.Unlock()
	return Holder{Held: held, Doing: sqltext.Cut(h.sql, 200)}
}

// idleTx returns how long h has at least had a transaction and run nothing, if that is bound or more; once, and again only after h was used. Else 0.
func (h *hold) idleTx(now time.Time, bound time.Duration) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state != leaseActive || h.calling || h.rest.calls != h.calls || h.rest.since.IsZero() {
		h.rest = rest{calls: h.calls, since: now}
	}
	idle := now.Sub(h.rest.since)
	if idle < bound || !h.inTx || h.raw || h.rest.reported {
		return 0
	}
	h.rest.reported = true
	return idle
}

// isLeftOpen returns true, once, if a result has been open for bound or more.
func (h *hold) isLeftOpen(now time.Time, bound time.Duration) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.result == nil || h.reported || now.Sub(h.resultAt) < bound {
		return false
	}
	h.reported = true
	return true
}

package pool

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/isolation"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// hold is a user's hold on a connection: whether the user has the connection, and what runs on it. Only this file writes the fields.
type hold struct {
	c   *conn         // nil until lend is called
	use isolation.Use // what the user does to the session; only the caller between enter and leave uses this field

	mu       sync.Mutex
	state    leaseState
	calling  bool   // a call into pgx is running, or stuck
	stuck    bool   // the call has returned to its caller, but one of the call's arguments is still being encoded
	inTx     bool   // a transaction was open after the last call
	raw      bool   // the user has, or may have, the *pgx.Conn itself
	reported bool   // isLeftOpen has returned true for the open result
	calls    uint32 // the number of calls so far
	rest     rest
	left     chan struct{} // made by end if a call is running, and closed when that call is over
	result   result        // Rows or BatchResults that are still open
	resultAt time.Duration // when result was opened, from since on
	since    time.Time     // when the user got the connection
	sql      string        // the statement that runs, or ran last

	uncheck context.CancelFunc // ends the checks of the connection that the user is about to get; nil if there were none
}

type leaseState uint8

const (
	leasePending leaseState = iota // waiting for its connection
	leaseActive
	leaseReleased
	leaseEnded  // by the end of its scope
	leaseClosed // by Shutdown
)

// result is a Rows or BatchResults that is open: it keeps the connection busy between calls.
type result interface{ closeResult() }

// rest is how housekeeping notices that a lease does nothing: it compares the number of calls in two rounds, so that no call has to read the clock.
type rest struct {
	since    time.Time // when housekeeping first saw that number of calls while no call was running
	calls    uint32    // the number of calls that housekeeping saw last
	reported bool      // idleTx has returned the time since then
}

// is returns f(), which reads h's fields, with h locked.
func (h *hold) is(f func() bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return f()
}

// active reports whether h's user has the connection now, and released whether the user has given it back.
func (h *hold) active() bool   { return h.is(func() bool { return h.state == leaseActive }) }
func (h *hold) released() bool { return h.is(func() bool { return h.state == leaseReleased }) }

// wants notes which statement the connection is for. Logs and errors show it.
func (h *hold) wants(sql string) { h.sql = sql }

// checking returns the ctx for the checks of a connection that h is about to get. The ctx ends when h is ended.
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

// lend gives c to h. The user has c when start returns true.
func (h *hold) lend(c *conn) {
	h.c = c
	c.cancel.Lent()
}

// start makes h's user the owner of the lent connection. It returns false if h has ended meanwhile.
func (h *hold) start() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.state != leasePending {
		return false
	}
	h.state, h.since = leaseActive, h.c.place.Since()
	return true
}

// enter begins a call into pgx that sends something. If enter succeeds, the caller has to call leave after the call.
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

// resume begins a call that goes on reading an open result. If resume succeeds, the caller has to call leave after the call.
func (h *hold) resume() error {
	if err := h.call(""); err != nil {
		return err
	}
	h.c.cancel.Extend()
	return nil
}

// call is the common part of enter and resume. resume calls it with an empty sql.
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

// leaveAfter calls leave when done is closed: until then one of the call's arguments is in use.
func (h *hold) leaveAfter(done <-chan struct{}) {
	h.mu.Lock()
	h.stuck = true
	h.mu.Unlock()
	go func() {
		<-done
		h.leave()
	}()
}

// opened notes that r occupies the connection from now on, and closed that it does not any more. Both run between enter, or resume, and leave.
func (h *hold) opened(r result) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.result, h.resultAt, h.reported = r, time.Since(h.since), false
}

func (h *hold) closed(r result) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.result == r {
		h.result = nil
	}
}

func (h *hold) hasResult() bool { return h.is(func() bool { return h.result != nil }) }

// tookRaw notes that the user gets the *pgx.Conn itself. It returns false if h has ended.
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

// gaveRaw reports whether the user has, or may have, the *pgx.Conn itself.
func (h *hold) gaveRaw() bool { return h.is(func() bool { return h.raw }) }

// holdsBegin reports whether a BEGIN is held back, and no call is running that would send the BEGIN.
func (h *hold) holdsBegin() bool {
	return h.is(func() bool { return h.state == leaseActive && !h.calling && h.c.wire.BeginDeferred() })
}

// end takes the connection from its user, and returns the state before. At the first call, was is leaseActive, or leasePending if the user has not got
// the connection yet. If a call is running, left is closed when that call is over. quiet means that no call is running and no result is open.
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

// take returns the result that is still open after end, and forgets it. It returns nil if there is none.
func (h *hold) take() result {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.result
	h.result = nil
	return r
}

// started reports whether start has run.
func (h *hold) started() bool { return h.is(func() bool { return !h.since.IsZero() }) }

// held returns how long h has had its connection.
func (h *hold) held(now time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.since.IsZero() { // the connection is still being checked
		return 0
	}
	return now.Sub(h.since)
}

// holder describes h in a Holder, without its scope and stack.
func (h *hold) holder(now time.Time) Holder {
	held := h.held(now)
	h.mu.Lock()
	defer h.mu.Unlock()
	return Holder{Held: held, Doing: sqltext.Shown(h.sql, 200)}
}

// idleTx returns for how long, at least, h has had an open transaction and run nothing, or 0 if that is less than bound or has been returned before.
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
	if h.result == nil || h.reported || now.Sub(h.since)-h.resultAt < bound {
		return false
	}
	h.reported = true
	return true
}

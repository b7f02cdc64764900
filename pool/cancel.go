package pool

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

// canceler is the ctxwatch.Handler of one connection. pgx calls it when the ctx of a
// running statement ends, and again when that statement has its answer or was given up.
//
// The caller waits for the answer to his statement and no longer: a cancel connection
// is made and waited for in the background. Until the server has closed it the request
// may still hit whatever runs, so before the connection carries anything else there is
// [canceler.Settle].
//
// Hooks, and a user who has the raw *pgx.Conn, get pgx's own way: none of their calls
// passes Settle, and WaitForNotification is used with a timeout.
type canceler struct {
	n     *cancels
	pc    *pgconn.PgConn
	nc    net.Conn
	stage *cancelStage
	o     cancelOptions
	off   bool        // always pgx's way, or the user's
	ready func() bool // what runs is the statement itself; nil: always

	mode atomic.Uint32           // the owner's; of cancelmode.go
	req  atomic.Pointer[request] // of the last statement, until that is settled; nil: its ctx did not end

	mu   sync.Mutex
	over bool // the connection is being closed: its deadline is not ours
}

func newCanceler(n *cancels, s *cancelStage, pc *pgconn.PgConn, o cancelOptions) *canceler {
	return &canceler{n: n, pc: pc, nc: pc.Conn(), stage: s, o: o, off: o.UserOwn || o.Wait < 0}
}

// Ready has a request wait until ready returns true: until then something runs that is not the
// caller's. It is called once, before the connection is used.
func (h *canceler) Ready(ready func() bool) { h.ready = ready }

func (h *canceler) HandleCancel(ctx context.Context) { h.Cancel(ctx.Err()) }

// Cancel ends what runs because of why. It does not wait.
func (h *canceler) Cancel(why error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now, mode, r := time.Now(), h.mode.Load(), h.req.Load()
	switch {
	case h.over:
		return
	case mode == asPgx, r != nil && r.ended: // of the latter there is none: nothing runs that is not settled
		_ = h.nc.SetDeadline(now)
		return
	case r != nil:
		return
	}
	r = newRequest(h, why, now.Add(h.o.Wait))
	_ = h.nc.SetDeadline(r.deadline)
	h.req.Store(r)
	if mode == waitOnly {
		r.neverAsk()
		return
	}
	h.o.Go("cancel", r.ask)
}

// HandleUnwatchAfterCancel is called in the caller's goroutine.
func (h *canceler) HandleUnwatchAfterCancel() {
	h.Answered()
	if r := h.req.Load(); r != nil && h.mode.Load() == asPgx && !h.pc.IsClosed() {
		// The user took the connection meanwhile, and nothing stands between him and it.
		if r.await(h.o.Wait) {
			h.req.Store(nil)
		} else {
			_ = h.nc.SetDeadline(time.Now())
		}
	}
}

// Answered notes that what was cancelled has its answer, or was given up. It is the
// owner's, and does nothing if there is nothing to note.
func (h *canceler) Answered() {
	h.mu.Lock()
	defer h.mu.Unlock()
	r, now := h.req.Load(), time.Now()
	closed := h.over || h.pc.IsClosed()
	if !closed {
		_ = h.nc.SetDeadline(time.Time{})
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
func (h *canceler) Extend() {
	if h.req.Load() == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	r, now := h.req.Load(), time.Now()
	if r != nil && !h.over && !r.ended && now.After(r.deadline) {
		r.extendLocked(now.Add(h.o.Wait))
		_ = h.nc.SetDeadline(r.deadline)
	}
}

// Pending reports whether the ctx of the last statement has ended, and that is not settled.
func (h *canceler) Pending() bool { return h.req.Load() != nil }

// Settle makes sure that no cancel request of the last statement hits what the connection carries
// next: it waits for the end of the cancel connection, and lets the server say something
// harmless, which absorbs what a pooler passes on late. It is the owner's. false: the connection is
// good for nothing but to be closed.
func (h *canceler) Settle(bound time.Duration) bool {
	r := h.req.Load()
	if r == nil {
		return true
	}
	if !r.await(bound) {
		return false
	}
	if r.asked {
		_ = h.nc.SetDeadline(time.Now().Add(bound))
		_ = h.pc.Exec(context.Background(), "-- absorbs a cancel request").Close() // 57014 is what it is for
	}
	if h.pc.IsClosed() {
		return false
	}
	_ = h.nc.SetDeadline(time.Time{})
	h.req.Store(nil)
	return true
}

// GivenUp counts the connection among those that were lost to a cancel request.
func (h *canceler) GivenUp() { h.n.lost.Add(1) }

// Close notes that the connection is being closed, by whom deadlines are set from now on.
func (h *canceler) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.over = true
	if r := h.req.Load(); r != nil {
		r.endLocked()
	}
}

// Explain adds to err, of the last statement, that the ctx had ended, if that is behind it.
func (h *canceler) Explain(err error) error {
	if err == nil {
		return nil
	}
	r := h.req.Load()
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

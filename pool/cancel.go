package pool

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"

	"github.com/lmipool/lmipool/internal/pgerr"
)

// What the end of a ctx does to what a connection runs.
const (
	cancelAsPgx uint32 = iota // pgx's own way: the socket's deadline is over, the connection lost
	cancelAsks                // the server is asked to stop it; then the connection is as good as before
	cancelWaits               // its answer is waited for, and that is all: it is a COMMIT, say
)

// canceler is the ctxwatch.Handler of one connection. pgx calls it when the ctx of a
// running statement ends, and again when that statement has its answer or was given up.
//
// The caller waits for the answer to his statement and no longer: a cancel connection
// is made and waited for in the background. Until the server has closed it the request
// may still hit whatever runs, so before the connection carries anything else there is
// [conn.settle].
//
// Hooks, and a user who has the raw *pgx.Conn, get pgx's own way: none of their calls
// passes settle, and WaitForNotification is used with a timeout.
type canceler struct {
	p     *Pool
	pc    *pgconn.PgConn
	nc    net.Conn
	up    *atomic.Bool // what it dials from now on are cancel connections
	off   bool         // always pgx's way, or the user's
	ready func() bool  // what runs is the statement itself; nil: always

	mode atomic.Uint32           // the owner's
	req  atomic.Pointer[request] // of the last statement, until that is settled; nil: its ctx did not end

	mu   sync.Mutex
	over bool // the connection is being closed: its deadline is not ours
}

// cancelerKey is where pgx keeps the canceler of a connection for us.
const cancelerKey = "lmipool.canceler"

// cancelsOurWay gives the connection that cc is for its canceler. With own, a handler of
// the user's is left to do the work.
func (p *Pool) cancelsOurWay(cc *pgx.ConnConfig, own bool, dialing *conn) {
	begun := new(atomic.Bool)
	if dialing != nil {
		dialing.begun = begun
	}
	up, theirs, validate := new(atomic.Bool), cc.BuildContextWatcherHandler, cc.ValidateConnect
	cc.DialFunc = p.cancels.dial(begun, up, cc.DialFunc)
	cc.ValidateConnect = func(ctx context.Context, pc *pgconn.PgConn) error {
		begun.Store(dialing == nil || !p.recognition.asks) // else it has when that is over
		return validate(ctx, pc)
	}
	cc.BuildContextWatcherHandler = func(pc *pgconn.PgConn) ctxwatch.Handler {
		h := &canceler{p: p, pc: pc, nc: pc.Conn(), up: up, off: own || p.cfg.CancelWait < 0}
		pc.CustomData()[cancelerKey] = h
		if own {
			return theirs(pc)
		}
		return h
	}
}

// cancelerOf is the canceler of a new connection, whose dial is over.
func cancelerOf(pc *pgconn.PgConn) *canceler {
	h, _ := pc.CustomData()[cancelerKey].(*canceler)
	h.up.Store(true)
	return h
}

func (h *canceler) HandleCancel(ctx context.Context) { h.cancel(ctx.Err()) }

// cancel ends what runs because of why. It does not wait.
func (h *canceler) cancel(why error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now, mode, r := time.Now(), h.mode.Load(), h.req.Load()
	switch {
	case h.over:
		return
	case mode == cancelAsPgx, r != nil && r.ended: // of the latter there is none: nothing runs that is not settled
		_ = h.nc.SetDeadline(now)
		return
	case r != nil:
		return
	}
	r = &request{h: h, why: why, deadline: now.Add(h.p.cfg.CancelWait), over: make(chan struct{}), done: make(chan struct{})}
	_ = h.nc.SetDeadline(r.deadline)
	r.ctx, r.stop = context.WithTimeout(context.WithValue(context.Background(), requestKey{}, r), closeTimeout)
	h.req.Store(r)
	if mode == cancelWaits {
		r.stop()
		r.sure = true
		close(r.done)
		return
	}
	h.p.background("cancel", r.ask)
}

// HandleUnwatchAfterCancel is called in the caller's goroutine.
func (h *canceler) HandleUnwatchAfterCancel() {
	h.answered()
	if r := h.req.Load(); r != nil && h.mode.Load() == cancelAsPgx && !h.pc.IsClosed() {
		// The user took the connection meanwhile, and nothing stands between him and it.
		if h.await(r, h.p.cfg.CancelWait) {
			h.req.Store(nil)
		} else {
			_ = h.nc.SetDeadline(time.Now())
		}
	}
}

// answered notes that what was cancelled has its answer, or was given up. It is the
// owner's, and does nothing if there is nothing to note.
func (h *canceler) answered() {
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
	// Of what was given up the server still has to hear.
	if !closed && now.Before(r.deadline) && !r.underWay {
		r.withdrawn = true
		r.stop()
	}
}

// extend gives a call that reads on under a ctx that had ended before it the time to do
// so: what the server sent before it heard of that may all be there.
func (h *canceler) extend(r *request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now := time.Now(); !h.over && !r.ended && now.After(r.deadline) {
		r.deadline = now.Add(h.p.cfg.CancelWait)
		_ = h.nc.SetDeadline(r.deadline)
	}
}

// close notes that the connection is being closed, by whom deadlines are set from now on.
func (h *canceler) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.over = true
	if r := h.req.Load(); r != nil {
		r.endLocked()
	}
}

// lent is called when a lease gets the connection.
func (h *canceler) lent() {
	if !h.off {
		h.mode.Store(cancelAsks)
	}
}

// waits has the end of a ctx wait for the answer and do no more, until back is called.
func (h *canceler) waits() (back func()) {
	was := h.mode.Load()
	if !h.off {
		h.mode.Store(cancelWaits)
	}
	return func() { h.mode.Store(was) }
}

// explain adds to err, of the last statement, that the ctx had ended, if that is behind it.
func (h *canceler) explain(err error) error {
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

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

// Options say how the connection that [Limiter.Install] prepares cancels its statements.
type Options struct {
	Wait    time.Duration                  // bounds the wait for a statement's answer after its ctx has ended; if negative, pgx's own way is used
	UserOwn bool                           // says that the user's ctxwatch.Handler is used instead of the Canceler
	Later   bool                           // says that the session begins with a call of Begun, not with the login
	Go      func(what string, f func())    // runs f in a goroutine for which the pool's Close waits
	Over    func(Over)                     // hears what became of each statement whose ctx ended; nil if nobody wants to hear
	Dialing func(ctx context.Context) bool // reports whether ctx belongs to a dial, and not to pgx's cancel of a login that was lost
}

// Over says what became of one statement whose ctx had ended.
type Over struct {
	Since  time.Time // when the ctx ended
	Sent   bool      // a cancel request was sent
	Lost   bool      // the connection was given up
	Server net.Addr
}

// Canceler is the ctxwatch.Handler of one connection. pgx calls it when the ctx of a running statement ends, and again when that statement has
// its answer or was given up. Then the statement's caller returns, but nothing else may be sent on the connection before Settle.
type Canceler struct {
	pc    *pgconn.PgConn
	nc    net.Conn
	stage *stage
	lost  *atomic.Int64 // Limiter.lost
	o     Options
	off   bool        // says that pgx's own way or the user's handler is used
	ready func() bool // see Opened

	mode atomic.Uint32           // a Mode; only the connection's owner sets it
	req  atomic.Pointer[request] // the request for the last statement until it is settled; nil if that statement's ctx did not end

	mu   sync.Mutex
	over bool // is set when the connection is being closed: whoever closes it sets its deadlines
}

// stage says how far a connection has come.
type stage struct {
	begun  atomic.Bool // is set when the session has begun, so that there may be something to cancel
	opened atomic.Bool // is set when the dial is over: from then on pgx uses the DialFunc for cancel connections only
}

// Begun notes that the session has begun, for Options.Later.
func (c *Canceler) Begun() { c.stage.begun.Store(true) }

// Opened notes that the dial is over. A cancel request is not sent before ready returns true: until then the server may run the pool's own SQL.
func (c *Canceler) Opened(ready func() bool) {
	c.ready = ready
	c.stage.opened.Store(true)
}

// Mode says what the end of a ctx does to the statement that a connection runs.
type Mode uint32

const (
	asPgx    Mode = iota // pgx's own way: the socket's deadline is set to now, and the connection is lost
	asks                 // the server is asked to stop the statement, and the connection can be used afterwards
	waitOnly             // the statement's answer is waited for, and nothing else is done, for example for COMMIT
)

// Lent sets the mode in which the server is asked to stop a statement. It is called when a lease gets the connection.
func (c *Canceler) Lent() { c.Restore(asks) }

// AsPgx sets pgx's own way, while nobody holds the connection, or a hook or a user has it raw: they do not call Settle, which a request would need.
func (c *Canceler) AsPgx() { c.Restore(asPgx) }

// WaitOnly sets the mode in which the end of a ctx only waits for the answer, and returns the mode of before, for Restore.
func (c *Canceler) WaitOnly() (was Mode) {
	was = Mode(c.mode.Load())
	c.Restore(waitOnly)
	return was
}

// Restore sets the mode to was, unless the Canceler is not used.
func (c *Canceler) Restore(was Mode) {
	if !c.off {
		c.mode.Store(uint32(was))
	}
}

// Uncancelable runs a call that does nothing but begin or end a transaction. If ctx ends, the answer is waited for, and nothing else is done. pgx
// would close the connection, however quickly the answer comes. A COMMIT that is cancelled has an unknown outcome; and if it was waiting for a
// synchronous standby, the server reports it as done before the standby has it.
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
	defer func() { // this runs even if a tracer panics, since the end of ctx must not stop the next user's statement
		if !stop() {
			<-ended
			c.Answered()
		}
		err = c.Explain(err)
	}()
	return call(context.WithoutCancel(ctx))
}

func (c *Canceler) HandleCancel(ctx context.Context) { c.Cancel(ctx.Err()) }

// Cancel begins to stop the running statement as the mode says, because its ctx has ended with the error why. It does not wait.
func (c *Canceler) Cancel(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, mode, r := time.Now(), Mode(c.mode.Load()), c.req.Load()
	switch {
	case c.over:
	case mode == asPgx, r != nil && r.ended: // an ended request cannot be met here, since nothing runs before Settle
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
			c.tell(r, false)
		} else {
			_ = c.nc.SetDeadline(time.Now())
		}
	}
}

// Answered notes that the statement whose ctx has ended has its answer or was given up, and takes the deadline away. Only the connection's owner calls it.
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
	if !closed && now.Before(r.deadline) { // otherwise the statement was given up, and the server still has to stop it
		r.withdrawLocked()
	}
}

// Extend gives Options.Wait once more to a call that reads on after its ctx has ended and its deadline is over: the rest may have arrived already.
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

// Why returns the error of that ctx, or nil if Pending is false.
func (c *Canceler) Why() error {
	if r := c.req.Load(); r != nil {
		return r.why
	}
	return nil
}

// Settle makes sure that no cancel request for the last statement stops a later statement of the connection: see the package's invariants. The owner
// calls it before the connection's next use. If it returns false, the connection must be closed.
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
		_ = c.pc.Exec(context.Background(), "-- absorbs a cancel request").Close() // this query is there to fail with 57014 in place of a later one
	}
	if c.pc.IsClosed() {
		return false
	}
	_ = c.nc.SetDeadline(time.Time{})
	c.req.Store(nil)
	c.tell(r, false)
	return true
}

// tell says what became of the statement of r.
func (c *Canceler) tell(r *request, lost bool) {
	if c.o.Over == nil || r == nil {
		return
	}
	c.mu.Lock()
	sent := r.asked
	c.mu.Unlock()
	c.o.Over(Over{r.began, sent, lost, c.nc.RemoteAddr()})
}

// GivenUp counts the connection as lost because of a cancel request, for [Limiter.Stat].
func (c *Canceler) GivenUp() {
	c.lost.Add(1)
	c.tell(c.req.Load(), true)
}

// Close notes that the connection is being closed. From now on c leaves its deadlines to whoever closes it.
func (c *Canceler) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if r := c.req.Load(); r != nil {
		r.endLocked()
	}
}

// Explain adds the ctx's error to err, the error of the last statement, if err comes from the end of its ctx.
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

const (
	// askAgain is the pause before a cancel request is repeated for the first time. Each pause is twice the one before. A request is repeated
	// because it does nothing if it arrives before its statement, or between two of the statement's messages.
	askAgain = 25 * time.Millisecond
	// bound is how long a request is tried in all: the time that pgx itself takes when it closes a connection (pgconn's asyncClose).
	bound = 15 * time.Second
)

// request asks the server to cancel one statement, until the statement has its answer.
type request struct {
	mu    *sync.Mutex        // Canceler.mu
	why   error              // the error of the statement's ctx
	began time.Time          // when that ctx ended
	ctx   context.Context    // bounds the cancel connections
	stop  context.CancelFunc // ends ctx
	over  chan struct{}      // is closed when the statement has its answer, or was given up
	done  chan struct{}      // is closed when nothing more will be sent

	// These are guarded by mu.
	deadline  time.Time // the statement's caller waits until then
	ended     bool      // says that over is closed
	withdrawn bool      // says that the request must not be sent any more
	underWay  bool      // says that the request has a cancel connection whose end was not seen yet

	// These do not change once done is closed.
	asked bool // says that a cancel connection was used
	sure  bool // says that the request cannot reach the server any more
}

type requestKey struct{}

func newRequest(mu *sync.Mutex, why error) *request {
	r := &request{mu: mu, why: why, began: time.Now(), over: make(chan struct{}), done: make(chan struct{})}
	r.ctx, r.stop = context.WithTimeout(context.WithValue(context.Background(), requestKey{}, r), bound)
	return r
}

func (r *request) endLocked() {
	if !r.ended {
		r.ended = true
		close(r.over)
	}
}

// withdrawLocked makes sure that the request is not sent any more. It does nothing if the request is under way.
func (r *request) withdrawLocked() {
	if !r.underWay {
		r.withdrawn = true
		r.stop()
	}
}

// neverAsk is called instead of ask in the mode waitOnly: the request is never sent.
func (r *request) neverAsk() {
	r.stop()
	r.sure = true
	close(r.done)
}

// ask sends the request for what pc runs, and sends it again while there is no answer. If ready is not nil, ask first waits until ready returns true.
// For a statement that was given up, ask sends only once, since pgx sends a request too when it closes the connection.
func (r *request) ask(pc *pgconn.PgConn, ready func() bool) {
	defer close(r.done)
	defer r.stop()
	for pause := askAgain; ; pause *= 2 {
		for waits := ready != nil; waits && !ready(); {
			select {
			case <-r.over:
				waits = false
			case <-time.After(time.Millisecond):
			}
		}
		_ = pc.CancelRequest(r.ctx) // it may run beside pc's other calls: it reads only fields that never change
		if !r.arrived() {
			return
		}
		select {
		case <-r.over:
			return
		case <-r.ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// setOff is called before a cancel connection is used. It returns false if the request was withdrawn or its time is over.
func (r *request) setOff() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.underWay = !r.withdrawn && r.ctx.Err() == nil
	r.asked = r.asked || r.underWay
	return r.underWay
}

// arrived is called after CancelRequest has returned. It reports whether that request cannot reach the server any more. CancelRequest returns when the
// server has signalled the backend and closed the cancel connection, or when r.ctx ends. In the second case the request may still be on its way.
func (r *request) arrived() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sure = !r.underWay || r.ctx.Err() == nil
	r.underWay = false
	return r.sure
}

// await waits for done, but no longer than atMost. It reports whether the request certainly cannot reach the server any more.
func (r *request) await(atMost time.Duration) bool {
	t := time.NewTimer(atMost)
	defer t.Stop()
	select {
	case <-r.done:
		return r.sure
	case <-t.C:
		r.stop() // ask, which waits for its cancel connection, ends too
		return false
	}
}

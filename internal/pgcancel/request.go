package pgcancel

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

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

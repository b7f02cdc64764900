package pgcancel

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// askAgain is the pause before a cancel request is repeated; it doubles. A request that arrives before its statement, or between two messages
	// of it, does nothing.
	askAgain = 25 * time.Millisecond
	// bound is how long a request is tried in all: as long as pgx itself tries when it closes a connection (pgconn's asyncClose).
	bound = 15 * time.Second
)

// request asks the server to cancel one statement, as often as that takes.
type request struct {
	mu   *sync.Mutex // the canceler's
	why  error       // the error of the ctx
	ctx  context.Context
	stop context.CancelFunc
	over chan struct{} // closed when the statement has its answer, or was given up
	done chan struct{} // closed when nothing more will be sent, or arrive

	// guarded by mu
	deadline  time.Time // the caller waits no longer
	ended     bool      // over is closed
	withdrawn bool      // it must not be sent
	underWay  bool      // it has a cancel connection, whose end was not seen yet

	// constant once done is closed
	asked bool // something was sent
	sure  bool // nothing of it can arrive any more
}

type requestKey struct{}

func newRequest(mu *sync.Mutex, why error) *request {
	r := &request{mu: mu, why: why, over: make(chan struct{}), done: make(chan struct{})}
	r.ctx, r.stop = context.WithTimeout(context.WithValue(context.Background(), requestKey{}, r), bound)
	return r
}

func (r *request) endLocked() {
	if !r.ended {
		r.ended = true
		close(r.over)
	}
}

// withdrawLocked makes sure that the request is not sent, if it is not under way.
func (r *request) withdrawLocked() {
	if !r.underWay {
		r.withdrawn = true
		r.stop()
	}
}

// neverAsk is called instead of ask if the answer is to be waited for and nothing else done.
func (r *request) neverAsk() {
	r.stop()
	r.sure = true
	close(r.done)
}

// ask sends the request for what pc runs when ready, if it is not nil, returns true, and again while there is no answer. For a statement that was
// given up it does so once, since pgx sends a request too when it closes the connection.
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
		_ = pc.CancelRequest(r.ctx) // safe beside other calls: it reads only what never changes
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

// setOff is called before a cancel connection is used. It reports false if that must not be used any more.
func (r *request) setOff() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.underWay = !r.withdrawn && r.ctx.Err() == nil
	r.asked = r.asked || r.underWay
	return r.underWay
}

// arrived is called after a CancelRequest, and reports whether nothing of that can still arrive. pgx returns when the server has closed the cancel
// connection, after it has signalled the backend; or when r.ctx ends, and then the request may still be on its way.
func (r *request) arrived() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sure = !r.underWay || r.ctx.Err() == nil
	r.underWay = false
	return r.sure
}

// await waits until no request can arrive any more, and reports whether that is sure.
func (r *request) await(atMost time.Duration) bool {
	t := time.NewTimer(atMost)
	defer t.Stop()
	select {
	case <-r.done:
		return r.sure
	case <-t.C:
		r.stop() // ends the wait for its cancel connection
		return false
	}
}

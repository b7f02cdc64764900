package pgcancel

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// askAgain is the pause before a cancel request is repeated; it doubles. A request that arrives before its statement, or between
	// two messages of it, does nothing.
	askAgain = 25 * time.Millisecond
	// bound is how long a request is tried in all: as long as pgx itself tries when it closes a connection (pgconn's asyncClose).
	bound = 15 * time.Second
)

// request asks the server to cancel one statement, as often as that takes.
type request struct {
	mu   *sync.Mutex // the canceler's
	why  error       // the ctx's
	ctx  context.Context
	stop context.CancelFunc
	over chan struct{} // closed when the statement has its answer, or was given up
	done chan struct{} // closed when nothing more will be sent, or arrive

	// guarded by mu
	deadline  time.Time // the caller waits no longer
	ended     bool      // over is closed
	withdrawn bool      // it is not to be sent
	underWay  bool      // it has a cancel connection, whose end was not seen yet

	// constant once done is closed
	asked bool // something was sent
	sure  bool // and has arrived, all of it
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

// withdrawLocked has the request not sent, if there is still time.
func (r *request) withdrawLocked() {
	if !r.underWay {
		r.withdrawn = true
		r.stop()
	}
}

// neverAsk is instead of ask: the answer is waited for, and that is all.
func (r *request) neverAsk() {
	r.stop()
	r.sure = true
	close(r.done)
}

// ask sends the request for what pc runs once ready, if it is not nil, returns true, and again while there is no answer. Once is
// enough for a statement that was given up: pgx asks, too, as it closes the connection.
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
		_ = pc.CancelRequest(r.ctx) // reads only what never changes
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

// setOff is called with a cancel connection that is about to be used. It is false if it must not be any more.
func (r *request) setOff() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.underWay = !r.withdrawn && r.ctx.Err() == nil
	r.asked = r.asked || r.underWay
	return r.underWay
}

// arrived is called after a CancelRequest. pgx returns from that when the server has closed the cancel connection, having signalled
// the backend before, or with our ctx: then the request may still be on its way.
func (r *request) arrived() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sure = !r.underWay || r.ctx.Err() == nil
	r.underWay = false
	return r.sure
}

// await waits until no request can arrive any more, and says whether that is sure.
func (r *request) await(atMost time.Duration) bool {
	t := time.NewTimer(atMost)
	defer t.Stop()
	select {
	case <-r.done:
		return r.sure
	case <-t.C:
		r.stop() // its cancel connection is not to be waited for any longer
		return false
	}
}

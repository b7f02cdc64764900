package pool

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lmipool/lmipool/internal/sched"
)

// Scope is all that one invocation holds, in every pool that it uses with the scope's ctx. End takes it back.
type Scope struct {
	name   string
	ctx    scopeContext
	cancel context.CancelFunc

	mu    sync.Mutex
	ended bool
	done  chan struct{} // closed when the scope ends; nil while nobody waits for it
	held  *held         // what it holds, as a list

	detached *atomic.Int64 // ctxs from Detach: of the pool that opened it
}

// held is a lease's place in the list of its scope.
type held struct {
	l          belonging
	prev, next *held
}

// belonging is what a scope knows of a lease of its invocation.
type belonging interface {
	lasts() bool // whether what is done now may depend on it
	hasResult() bool
	// takeBack ends it. If it had not ended, report logs that.
	takeBack(now time.Time) (report func())
}

// scopeContext is context.WithValue(ctx, scopeKey{}, scope), inside the scope.
type scopeContext struct {
	context.Context
	scope *Scope
}

type scopeKey struct{}

func (c *scopeContext) Value(key any) any {
	if key == (scopeKey{}) {
		return c.scope
	}
	return c.Context.Value(key)
}

// OpenScope begins a scope named name, usually the invocation's request id. The returned ctx carries it, and ends with it, or at deadline unless
// that is zero; whoever calls OpenScope calls End.
//
// The scope is the invocation's, not this pool's: any pool that is used with the ctx registers with it. If ctx has a scope already, or with
// Config.Plain, nothing happens: ctx is returned as it is, and a nil Scope, whose End does nothing.
func (p *Pool) OpenScope(ctx context.Context, name string, deadline time.Time) (context.Context, *Scope) {
	if outer, _ := placeOf(ctx); p.cfg.Plain || outer != nil {
		return ctx, nil
	}
	s := &Scope{name: name, detached: &p.detached}
	s.ctx.scope = s
	if deadline.IsZero() {
		s.ctx.Context, s.cancel = context.WithCancel(ctx)
	} else {
		s.ctx.Context, s.cancel = context.WithDeadline(ctx, deadline)
	}
	return &s.ctx, s
}

// hasEnded reports whether the scope has ended.
func (s *Scope) hasEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// gone is hasEnded, for no scope too.
func (s *Scope) gone() bool { return s != nil && s.hasEnded() }

// holdsLease reports whether the invocation has a connection for itself, and so perhaps a transaction: what it does now may depend on that, or wait
// for it.
func (s *Scope) holdsLease() bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for h := s.held; h != nil; h = h.next {
		if h.l.lasts() {
			return true
		}
	}
	return false
}

// end is closed when the scope ends.
func (s *Scope) end() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done == nil {
		s.done = make(chan struct{})
		if s.ended {
			close(s.done)
		}
	}
	return s.done
}

// End ends the scope: who waits for a connection under it stops waiting, whatever it still holds is logged and taken back, and every later use of a
// pool, lease, transaction or result under it gets [ErrInvocationEnded]. The scope's ctx is cancelled at once, or within 50 ms if Rows are to be
// closed first. End does not wait for the network, nor more than 10 ms for the Logger, is idempotent, and is safe beside everything else.
func (s *Scope) End() {
	if s == nil {
		return
	}
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return
	}
	s.ended = true
	var held []belonging
	for h := s.held; h != nil; h = h.next {
		held = append(held, h.l)
	}
	if s.done != nil {
		close(s.done)
	}
	s.mu.Unlock()

	now := time.Now()
	open := false
	var reports []func()
	for _, l := range held {
		open = l.hasResult() || open
		if report := l.takeBack(now); report != nil {
			reports = append(reports, report)
		}
	}
	// A ctx that ends under open Rows has their statement cancelled. If they were only forgotten, the little while in which reclaim closes them
	// saves that.
	if open {
		time.AfterFunc(graceToCancel, s.cancel)
	} else {
		s.cancel()
	}
	if len(reports) > 0 {
		sayLeaks(reports)
	}
}

// Cancel cancels the scope's ctx, and does nothing else: the invocation may still finish. It does nothing for a nil Scope.
func (s *Scope) Cancel() {
	if s != nil {
		s.cancel()
	}
}

// sayLeaks logs what was taken back. A Logger that is slow, or hangs, does not keep the invocation's reply.
func sayLeaks(reports []func()) {
	said := make(chan struct{})
	go func() {
		defer close(said)
		for _, report := range reports {
			report()
		}
	}()
	t := time.NewTimer(graceToSay)
	defer t.Stop()
	select {
	case <-said:
	case <-t.C:
	}
}

// graceToSay is how long the end of a scope waits for the Logger: a line that is written before the reply is sure to be in the invocation's log.
const graceToSay = 10 * time.Millisecond

// graceToLeave is how long a call that is still running when its invocation ended may take to come back by itself: its ctx has just been cancelled.
// Then the server is asked to stop what it runs, whatever its ctx, and if it still does not come back the connection is torn away from it.
const graceToLeave = 100 * time.Millisecond

// graceToCancel is shorter than graceToLeave: a call that is still running when its scope ends is cancelled first and torn away from its caller
// second.
const graceToCancel = graceToLeave / 2

// add registers l, unless the scope has ended.
func (s *Scope) add(h *held, l belonging) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	h.l, h.next = l, s.held
	if s.held != nil {
		s.held.prev = h
	}
	s.held = h
	return true
}

func (s *Scope) remove(h *held) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.prev != nil {
		h.prev.next = h.next
	} else if s.held == h {
		s.held = h.next
	}
	if h.next != nil {
		h.next.prev = h.prev
	}
	*h = held{}
}

// id is the scope's name, or "" for no scope.
func (s *Scope) id() string {
	if s == nil {
		return ""
	}
	return s.name
}

// callback is the function of an InTx while it runs. What is done with its ctx is done on its behalf: it does not end, and its connection does not
// come free, before.
type callback struct {
	scope *Scope
	outer *callback // whose ctx InTx was called with; nil: none
	// within has what it holds: nothing with somebody else's pool, and for a savepoint. It is set once, before the function runs.
	within   sched.Within
	starting bool // BEGIN is under way: this is no use of the pool inside the function
}

// callbackContext is context.WithValue(ctx, scopeKey{}, callback): what looks for its scope in a ctx finds both in one go.
type callbackContext struct {
	context.Context
	callback
}

func (c *callbackContext) Value(key any) any {
	if key == (scopeKey{}) {
		return &c.callback
	}
	return c.Context.Value(key)
}

// placeOf returns the scope and the callback that ctx belongs to, or nil.
func placeOf(ctx context.Context) (*Scope, *callback) {
	mustHave(ctx)
	switch v := ctx.Value(scopeKey{}).(type) {
	case *Scope:
		return v, nil
	case *callback:
		return v.scope, v
	}
	return nil, nil
}

// begin puts c at its place: that of the ctx that InTx was called with.
func (c *callback) begin(ctx context.Context) {
	c.starting = true
	if c.scope, c.outer = placeOf(ctx); c.outer != nil {
		c.within.Outer = &c.outer.within
	}
}

// begun notes that BEGIN is over, whatever came of it.
func (c *callback) begun() { c.starting = false }

// holding notes that c holds the connection that was asked for with r; nil: nothing any more.
func (c *callback) holding(r *sched.Request) { c.within.Holds = r }

// DetachTimeout is how long a detached ctx lives if nobody says otherwise.
const DetachTimeout = 30 * time.Second

// Detach returns a ctx for work that may outlive its invocation: it has ctx's values but the scope, does not end with ctx, and ends after timeout
// (0 means [DetachTimeout]) or with cancel, which must be called when the work is done. What is acquired under it is nobody's to take back: release
// it.
//
// While it lives it is counted in [Stat.DetachedCount] of the pool that opened the scope. On a kind of environment that freezes after its reply,
// detached work stands still until the next invocation.
func Detach(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if timeout <= 0 {
		timeout = DetachTimeout
	}
	var count *atomic.Int64
	if s, _ := placeOf(ctx); s != nil {
		count = s.detached
	}
	free := &scopeContext{Context: context.WithoutCancel(ctx)} // its scope is nil
	detached, cancel := context.WithTimeout(free, timeout)
	if count != nil {
		count.Add(1)
		context.AfterFunc(detached, func() { count.Add(-1) })
	}
	return detached, cancel
}

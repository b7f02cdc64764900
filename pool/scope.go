package pool

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Scope is all that one invocation holds, in every pool that it uses with the
// scope's ctx. End takes it back.
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
	l          holding
	prev, next *held
}

// holding is what a scope knows of a lease.
type holding interface {
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

// scopeOf returns the scope that ctx belongs to, or nil.
func scopeOf(ctx context.Context) *Scope {
	s, _ := placeOf(ctx)
	return s
}

// OpenScope begins a scope named name, usually the invocation's request id. The
// returned ctx carries it, and ends with it, or at deadline unless that is zero;
// whoever calls OpenScope calls End.
//
// The scope is the invocation's, not this pool's: any pool that is used with the
// ctx registers with it. If ctx has a scope already, or with Config.Plain, nothing
// happens: ctx is returned as it is, and a nil Scope, whose End does nothing.
func (p *Pool) OpenScope(ctx context.Context, name string, deadline time.Time) (context.Context, *Scope) {
	if p.cfg.Plain || scopeOf(ctx) != nil {
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

// holdsLease reports whether the invocation has a connection for itself, and so
// perhaps a transaction: what it does now may depend on that, or wait for it.
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

// End ends the scope: who waits for a connection under it stops waiting, whatever
// it still holds is logged and taken back, and every later use of a pool, lease,
// transaction or result under it gets [ErrInvocationEnded]. The scope's ctx is
// cancelled at once, or within 50 ms if Rows are to be closed first. End does not
// wait for the network, nor more than 10 ms for the Logger, is idempotent, and is
// safe beside everything else.
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
	var held []holding
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
	// A ctx that ends under open Rows has their statement cancelled. If they were only
	// forgotten, the little while in which reclaim closes them saves that.
	if open {
		time.AfterFunc(graceToCancel, s.cancel)
	} else {
		s.cancel()
	}
	if len(reports) > 0 {
		sayLeaks(reports)
	}
}

// Cancel cancels the scope's ctx, and does nothing else: the invocation may still finish.
// It does nothing for a nil Scope.
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

// graceToSay is how long the end of a scope waits for the Logger: a line that is written
// before the reply is sure to be in the invocation's log.
const graceToSay = 10 * time.Millisecond

// graceToCancel is shorter than graceToLeave: a call that is still running when
// its scope ends is cancelled first and torn away from its caller second.
const graceToCancel = graceToLeave / 2

// add registers l, unless the scope has ended.
func (s *Scope) add(h *held, l holding) bool {
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

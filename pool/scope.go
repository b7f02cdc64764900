package pool

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lmipool/lmipool/internal/account"
	"github.com/lmipool/lmipool/internal/sched"
	"github.com/lmipool/lmipool/observe"
)

// Scope knows all leases that one invocation holds, in every pool that is used with the scope's ctx. The methods of a nil or zero Scope do nothing.
type Scope struct {
	name   string
	ctx    placeContext
	cancel context.CancelFunc

	mu    sync.Mutex
	ended bool
	done  chan struct{} // closed when the scope ends; nil while nobody waits for it
	held  *held         // the list of the leases that the invocation holds

	p       *Pool     // the pool that opened the scope: it counts ctxs from Detach, and is told when the scope ends
	began   time.Time // when the scope was opened
	account account.Account
}

// lookers counts the goroutines that use leases from a scheduler's or a scope's list, so that spare lets nobody reuse a lease. Each counts first.
var lookers atomic.Int64

// held is a lease's place in the list of its scope.
type held struct {
	l    belonging
	next *held
}

// belonging has the methods of a lease that its scope calls.
type belonging interface {
	lasts() bool // reports whether more than one call can run on the lease
	hasResult() bool
	// takeBack ends the lease, and returns a function that logs this. It returns nil if the lease had ended already.
	takeBack(now time.Time) (report func())
}

// placeContext is a ctx that carries a scope and a callback, as context.WithValue would. It is a part of the Scope or callback, to save an allocation.
type placeContext struct {
	context.Context
	scope *Scope    // nil outside an invocation
	in    *callback // nil outside a function of InTx
}

type placeKey struct{}

func (c *placeContext) Value(key any) any {
	if key == (placeKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// placeOf returns the scope and the callback that ctx carries, each nil if there is none.
func placeOf(ctx context.Context) (*Scope, *callback) {
	mustHave(ctx)
	if c, ok := ctx.Value(placeKey{}).(*placeContext); ok {
		return c.scope, c.in
	}
	return nil, nil
}

// OpenScope begins a scope named name, which is usually the invocation's request id. The returned ctx carries the scope, and ends with the scope, or at
// deadline unless deadline is zero. The caller must call End.
//
// The scope belongs to the invocation, not to this pool: it covers every pool that is used with the returned ctx. If ctx has a scope already, or with
// Config.Plain, OpenScope returns ctx as it is and a nil Scope.
func (p *Pool) OpenScope(ctx context.Context, name string, deadline time.Time) (context.Context, *Scope) {
	p.on()
	if outer, _ := placeOf(ctx); p.cfg.Plain == On || outer != nil {
		return ctx, nil
	}
	s := &Scope{name: name, p: p, began: time.Now()}
	s.ctx.scope = s
	if deadline.IsZero() {
		s.ctx.Context, s.cancel = context.WithCancel(ctx)
	} else {
		s.ctx.Context, s.cancel = context.WithDeadline(ctx, deadline)
	}
	return &s.ctx, s
}

// gone reports whether the scope has ended.
func (s *Scope) gone() bool {
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// holds reports whether the invocation has a connection for itself, where a transaction may be open. If results is true, open Rows and batches count, too.
func (s *Scope) holds(results bool) bool {
	return s.find(func(l belonging) bool { return l.lasts() || results && l.hasResult() }) != nil
}

// other returns a lease that the invocation holds besides l, or nil. The caller has to be counted in lookers.
func (s *Scope) other(l *Lease) *Lease {
	other, _ := s.find(func(b belonging) bool { return b != belonging(l) && (b.lasts() || b.hasResult()) }).(*Lease)
	return other
}

// find returns the first of the scope's leases for which is is true, or nil if there is none.
func (s *Scope) find(is func(belonging) bool) belonging {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for h := s.held; h != nil; h = h.next {
		if is(h.l) {
			return h.l
		}
	}
	return nil
}

// end returns a channel that is closed when the scope ends. It returns nil if s is nil.
func (s *Scope) end() <-chan struct{} {
	if s == nil {
		return nil
	}
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

// End ends the scope. Callers that wait for a connection with the scope's ctx stop waiting. Leases that were not given back are logged and taken back.
// Every later use of a pool, lease, transaction or result of the scope gets [ErrInvocationEnded]. The scope's ctx is cancelled at once, or after 50 ms
// if Rows are still open. End waits 10 ms at most for the Logger, and never for the network. It is idempotent and may be called from any goroutine.
func (s *Scope) End() {
	if s == nil || s.cancel == nil {
		return
	}
	lookers.Add(1)
	defer lookers.Add(-1)
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return
	}
	s.ended = true
	var all []belonging
	for h := s.held; h != nil; h = h.next {
		all = append(all, h.l)
	}
	if s.done != nil {
		close(s.done)
	}
	s.mu.Unlock()

	now := time.Now()
	open := false
	var reports []func()
	for _, l := range all {
		open = l.hasResult() || open
		if report := l.takeBack(now); report != nil {
			reports = append(reports, report)
		}
	}
	// The end of the ctx cancels the statement of open Rows, and costs a cancel request. Within graceToCancel reclaim can usually read the Rows to their end.
	if open {
		time.AfterFunc(graceToCancel, s.cancel)
	} else {
		s.cancel()
	}
	if len(reports) > 0 {
		sayLeaks(reports)
	}
	if s.p != nil {
		s.p.tellInvocation(s)
	}
}

// Usage returns what the invocation of ctx has asked of its pools so far. It returns the zero value for a ctx without a scope, and with Config.Plain.
func Usage(ctx context.Context) observe.Usage {
	if s, _ := placeOf(ctx); s != nil {
		return s.account.Usage()
	}
	return observe.Usage{}
}

// Cancel cancels the scope's ctx but does not end the scope: the invocation may still finish.
func (s *Scope) Cancel() {
	if s != nil && s.cancel != nil {
		s.cancel()
	}
}

// sayLeaks calls reports, which log what was taken back. A Logger that is slow or hangs delays the invocation's reply by graceToSay at most.
func sayLeaks(reports []func()) {
	said := make(chan struct{})
	go func() {
		defer close(said)
		for _, report := range reports {
			report()
		}
	}()
	select {
	case <-said:
	case <-time.After(graceToSay):
	}
}

const (
	// graceToSay bounds the wait for the Logger: only a line that is written before the reply is certain to be in the invocation's log.
	graceToSay = 10 * time.Millisecond

	// graceToLeave is how long a call that still runs when its invocation ends may take to return by itself. After that the server is asked to stop the
	// statement. If the call still does not return, its connection is cut off.
	graceToLeave = 100 * time.Millisecond

	// graceToCancel is shorter than graceToLeave, so that a call has its ctx cancelled before its connection is cut off.
	graceToCancel = graceToLeave / 2
)

// add puts l into the scope's list, with the place h. It returns false if the scope has ended.
func (s *Scope) add(h *held, l belonging) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	h.l, h.next = l, s.held
	s.held = h
	return true
}

func (s *Scope) remove(h *held) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for at := &s.held; *at != nil; at = &(*at).next {
		if *at == h {
			*at = h.next
			break
		}
	}
	*h = held{}
}

// id returns the scope's name, or "" if s is nil.
func (s *Scope) id() string {
	if s == nil {
		return ""
	}
	return s.name
}

// callback is a running function of InTx, with the function's ctx. Its connection does not come free while a call that was made with that ctx waits.
type callback struct {
	placeContext
	outer    *callback    // the callback in whose ctx InTx was called; nil if there is none
	within   sched.Within // the connection that the callback holds; none for a savepoint, or if the pool is not lmipool's. Set before the function runs
	starting bool         // BEGIN is under way, whose acquire is no use of the pool inside the function
}

// begin makes c the ctx for BEGIN. ctx is the one that InTx was called with.
func (c *callback) begin(ctx context.Context) {
	c.Context, c.in, c.starting = ctx, c, true
	if c.scope, c.outer = placeOf(ctx); c.outer != nil {
		c.within.Outer = &c.outer.within
	}
}

// begun notes that BEGIN is over, with or without an error.
func (c *callback) begun() { c.starting = false }

// holding notes that c holds the connection that r asked for. If r is nil, c holds none any more.
func (c *callback) holding(r *sched.Request) { c.within.Holds = r }

// DetachTimeout is the time after which a ctx from [Detach] ends if its timeout is 0.
const DetachTimeout = 30 * time.Second

// Detach returns a ctx for work that may go on after its invocation. The new ctx has ctx's values but no scope, and does not end when ctx ends. It ends
// after timeout (0 means [DetachTimeout]) or when cancel is called. Call cancel when the work is done. Release each lease that is acquired with it.
//
// Until the new ctx ends, [InvocationStat.Detached] of the pool that opened ctx's scope counts it. In an environment that freezes after its reply,
// detached work stands still until the next invocation.
func Detach(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	if timeout <= 0 {
		timeout = DetachTimeout
	}
	s, _ := placeOf(ctx)
	free := &placeContext{Context: context.WithoutCancel(ctx)}
	detached, cancel := context.WithTimeout(free, timeout)
	if s != nil {
		s.p.detached.Add(1)
		context.AfterFunc(detached, func() { s.p.detached.Add(-1) })
	}
	return detached, cancel
}

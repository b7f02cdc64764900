package sched

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// Scheduler is the core with a lock, a clock and timers.
type Scheduler struct {
	cfg     Config
	now     func() time.Time
	answers sync.Pool     // of *answer
	empty   chan struct{} // see Empty
	emptied sync.Once

	mu    sync.Mutex
	core  *core
	check Timer // calls core.tick
	epoch Timer // calls core.epoch; nil until it is needed for the first time
}

// New returns a scheduler that has no connection.
func New(cfg Config) *Scheduler {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.After == nil {
		cfg.After = func(d time.Duration, f func()) Timer { return time.AfterFunc(d, f) }
	}
	if cfg.Random == nil {
		cfg.Random = func(d time.Duration) time.Duration { return rand.N(d) }
	}
	s := &Scheduler{cfg: cfg, now: cfg.Now, empty: make(chan struct{}), core: newCore(cfg)}
	s.answers.New = func() any { return newAnswer() }
	return s
}

// unlock ends an event: it unlocks mu, and does what the event asks for.
func (s *Scheduler) unlock() {
	out, empty := s.core.out.done(), s.core.isEmpty()
	if out.check > 0 {
		if s.check == nil {
			s.check = s.cfg.After(out.check, func() { s.event((*core).tick) })
		} else {
			s.check.Reset(out.check)
		}
	}
	if out.epoch > 0 {
		if s.epoch == nil {
			s.epoch = s.cfg.After(out.epoch, func() { s.event((*core).epoch) })
		} else {
			s.epoch.Reset(out.epoch)
		}
	}
	if c := out.join; c != nil {
		if c.waiting == nil {
			c.waiting = s.cfg.After(out.joinIn, func() { s.joinDue(c) })
		} else {
			c.waiting.Reset(out.joinIn)
		}
	}
	s.wakeOutside()
	s.mu.Unlock()
	for a := out.first; a != nil; {
		a = a.send()
	}
	for range out.dials {
		s.cfg.Dial()
	}
	for g := out.carry; g != nil; {
		next := g.next // Carry may board the next requests into g
		s.cfg.Carry(g)
		g = next
	}
	for _, c := range out.close {
		s.cfg.Close(c)
	}
	if out.limit.From != 0 && s.cfg.Moved != nil {
		s.cfg.Moved(out.limit)
	}
	if empty {
		s.emptied.Do(func() { close(s.empty) })
	}
}

// event runs f as one event.
func (s *Scheduler) event(f func(*core, time.Time)) {
	s.mu.Lock()
	defer s.unlock()
	f(s.core, s.now())
}

func (s *Scheduler) joinDue(c *Conn) {
	s.mu.Lock()
	due := s.core.joinDue(c, s.now())
	s.unlock()
	if due {
		s.cfg.Send(c)
	}
}

// Begin notes that the dial of c, which belongs to owner, begins. A Fence from now on gives up c too.
func (s *Scheduler) Begin(c *Conn, owner any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.core.stock.begin(c, owner)
}

// Dialed adds c, whose dial took this long. It returns the Lack that this dial has ended, which is the zero value if there was none.
func (s *Scheduler) Dialed(c *Conn, took time.Duration) (until Lack) {
	s.mu.Lock()
	defer s.unlock()
	return s.core.dialed(c, took, s.now())
}

// DialFailed ends a dial that began at start and failed with err. lacks is what err says of the server.
func (s *Scheduler) DialFailed(err error, lacks Lack, start time.Time) {
	s.event(func(k *core, now time.Time) { k.dialFailed(err, lacks, start, now) })
}

// Release takes back c, which is fit for the next user. If c is idle for wait from now on, Config.Send is called. With a wait of [JoinWithin]
// something is queued on c (a reset), so callers prefer other connections. If wait is 0, Send is not called.
func (s *Scheduler) Release(c *Conn, wait time.Duration, now time.Time) {
	s.mu.Lock()
	defer s.unlock()
	s.core.release(c, wait, now)
}

// Retain ends the hold of c, which will be cleaned in the background: c stays counted until Release or Drop is called. Leaves ends the hold of c,
// which will be closed: c stays counted until Drop is called. Drop forgets c, because the server has closed it.
func (s *Scheduler) Retain(c *Conn) { s.put(c, (*core).retain) }
func (s *Scheduler) Leaves(c *Conn) { s.put(c, (*core).leaves) }
func (s *Scheduler) Drop(c *Conn)   { s.put(c, (*core).drop) }

func (s *Scheduler) put(c *Conn, where func(*core, *Conn, time.Time)) {
	s.event(func(k *core, now time.Time) { where(k, c, now) })
}

// Washing adds n to the number of connections that are being cleaned and will be free after a round trip.
func (s *Scheduler) Washing(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.core.growth.washing += n
}

// Await waits until the callers in g have gone on with their answers. Most of them ask again, and whoever misses the next group waits for a whole
// turn. Await does not wait if the next group is full without them, or if the head of the queue wants a connection of its own.
func (s *Scheduler) Await(g *Group) {
	s.mu.Lock()
	q := &s.core.queue
	decided := q.sharing >= q.group || q.head != nil && q.head.Share == nil
	s.mu.Unlock()
	if !decided {
		g.aboard.Wait()
	}
}

// Next boards the next group into g. It returns false if there is none: the queue is empty, or its head wants a connection of its own, or only one
// request shares. If alone is true, one request is enough for a group.
func (s *Scheduler) Next(g *Group, alone bool) bool {
	s.mu.Lock()
	defer s.unlock()
	return s.core.nextGroup(g, alone, s.now())
}

// Alone makes r ask for a connection of its own from now on, and AskAgain leaves r out. It is called after r was in a group: r may have run there.
func (r *Request) Alone() { r.Share, r.alone = nil, true }

// Answer ends the wait of a request that was in a group. Further calls do nothing.
func (*Scheduler) Answer(r *Request) {
	if !r.told {
		r.told = true
		r.answer.send()
	}
}

// TakeIdle removes the idle connections for which surplus is true. The caller closes them. It begins with the connection that would be used last.
// surplus is called with the lock held. It gets the numbers of idle and of open connections, without those that were taken before.
func (s *Scheduler) TakeIdle(surplus func(c *Conn, idle, open int) bool) []*Conn {
	s.mu.Lock()
	defer s.unlock()
	return s.core.takeIdle(surplus)
}

// Fence gives up all connections whose dial has begun, and returns the idle ones, which the caller closes. If c is not nil and was given up by an
// earlier Fence, it does nothing, and first is false.
func (s *Scheduler) Fence(c *Conn) (idle []*Conn, first bool) {
	s.mu.Lock()
	defer s.unlock()
	return s.core.fence(c)
}

// Holders returns the requests and groups that hold the connections.
func (s *Scheduler) Holders() []*Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*Request, 0, s.core.stock.held)
	for _, c := range s.core.stock.all {
		if c.holder != nil {
			out = append(out, c.holder)
		}
	}
	return out
}

// Close ends all waits, and those to come, with ErrClosed. It returns the idle connections, which the caller closes.
func (s *Scheduler) Close() []*Conn {
	s.mu.Lock()
	defer s.unlock()
	return s.core.close()
}

// Empty is closed after Close, when the last connection was dropped and the last dial is over.
func (s *Scheduler) Empty() <-chan struct{} { return s.empty }

// Acquire lends r a connection, in order of arrival. It returns nil without an error if r ran in a group instead. If first is true, r is put in front
// of the queue: r's turn had come before, but the connection that it got was unfit.
func (s *Scheduler) Acquire(ctx context.Context, r *Request, first bool) (c *Conn, err error) {
	c, err = s.Ask(ctx, r, first, nil)
	if c != nil || err != nil {
		return c, err
	}
	a := r.answer
	var late <-chan time.Time
	if a.latest.Before(a.due) || !r.bounded && !a.due.IsZero() { // otherwise ctx ends at that time
		late = a.after(a.latest.Sub(s.now()))
	}
	for done := s.cfg.Done(r); err == nil; {
		select {
		case <-a.ready:
			return s.Take(r)
		case <-a.again:
			s.shareNow(ctx, r)
		case <-late:
			if err := s.TooLate(r); err != nil {
				return nil, err
			}
		case <-ctx.Done():
			err = ctx.Err()
		case <-done:
			err = s.cfg.Gone(r)
		}
	}
	return nil, s.Leave(ctx, r, err)
}

// Ask is the part of Acquire that does not block. If it returns neither a connection nor an error, r waits until Take or Leave is called. told is
// called when r has its answer, at the end of the event that gives it. It is nil for Acquire, which waits for the answer instead.
func (s *Scheduler) Ask(ctx context.Context, r *Request, first bool, told func(*Conn, error)) (*Conn, error) {
	now := r.Asked // that was a moment ago, and reading the clock can take longer than the rest of this function
	if first || now.IsZero() {
		now = s.now()
	}
	c, err := s.take(ctx, r, first, now)
	s.mu.Unlock() // what follows calls methods of ctx, Prepare and Traits: the caller's code must not run under the lock
	if c != nil || err != nil {
		return c, err
	}
	due, bounded := ctx.Deadline()
	if !bounded {
		due = time.Time{} // a ctx of the user's own may say anything then
		if s.cfg.MaxWait > 0 {
			due = s.now().Add(s.cfg.MaxWait)
		}
	}
	a := s.answers.Get().(*answer)
	a.told = told
	r.begin(a, due, bounded)
	if !r.asked {
		r.asked = true
		r.Share = s.cfg.Prepare(ctx, r)
		a.Traits = s.cfg.Traits(ctx, r)
	}
	c, err = s.take(ctx, r, first || a.Holds, s.now()) // that may have taken long
	if c == nil && err == nil {
		err = s.core.wait(r, first, s.now())
	}
	if c != nil || err != nil {
		s.answers.Put(a)
	}
	s.unlock()
	return c, err
}

// TooLate refuses r, whose Latest has come, and returns the error for its caller. It returns nil if r is no longer queued.
func (s *Scheduler) TooLate(r *Request) error {
	s.mu.Lock()
	defer s.unlock()
	err := s.core.tooLate(r, s.now())
	if err != nil {
		_, _ = r.answer.take()
		s.answers.Put(r.answer)
	}
	return err
}

// Take ends the wait of r, whose answer is there, and returns that answer.
func (s *Scheduler) Take(r *Request) (*Conn, error) {
	r.goesOn()
	a := r.answer
	c, err := a.take()
	s.answers.Put(a)
	return c, err
}

// Leave ends the wait of r, which gives up because of err, and returns the error for its caller. If r has just got a connection, the next gets it.
func (s *Scheduler) Leave(ctx context.Context, r *Request, err error) error {
	s.mu.Lock()
	queued, err := s.core.leave(r, err, ctx.Err() != nil, s.now())
	s.mu.Unlock()
	switch {
	case r.aboard != nil:
		r.goesOn()
		r.Share.Withdraw(err)
	case !queued:
		r.answer.wait()
		if c, _ := r.answer.take(); c != nil {
			s.Release(c, c.wait, s.now())
		}
	}
	return err
}

// AskAgain has Prepare called again for all waiting requests that may share and do not. It is called when more is known. They keep their places.
func (s *Scheduler) AskAgain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for r := s.core.queue.head; r != nil; r = r.next {
		if r.MayShare && !r.alone && r.Share == nil {
			select {
			case r.answer.again <- struct{}{}:
			default: // its caller was told so already, and has not looked yet
			}
		}
	}
}

// shareNow asks Prepare whether r can share by now, if r waits and does not share yet. AskAgain can tell a caller twice before the caller has looked.
// Then a group may carry r already, and Prepare would replace the ride that the group carries. If Prepare panics, r leaves the queue: its caller is
// gone, so a connection that was lent to r later would never be used or given back.
func (s *Scheduler) shareNow(ctx context.Context, r *Request) {
	s.mu.Lock()
	asked := !r.queued || r.Share != nil
	s.mu.Unlock()
	if asked {
		return
	}
	returned := false
	defer func() {
		if !returned {
			_ = s.Leave(ctx, r, ErrClosed)
		}
	}()
	with := s.cfg.Prepare(ctx, r)
	returned = true
	s.share(r, with)
}

// share sets r.Share to with, if r is still queued. If with is nil, it does nothing.
func (s *Scheduler) share(r *Request, with Share) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if with != nil && r.queued {
		s.core.queue.count(r, -1)
		r.Share = with
		s.core.queue.count(r, 1)
	}
}

// take locks mu and calls core.take. It returns with mu still locked.
func (s *Scheduler) take(ctx context.Context, r *Request, ahead bool, now time.Time) (*Conn, error) {
	gone := s.cfg.Gone(r)
	if gone == nil {
		gone = ctx.Err()
	}
	s.mu.Lock()
	return s.core.take(r, ahead, gone, now)
}

// wakeOutside lets those who wait for a place look again, if there may be one. mu must be held.
func (s *Scheduler) wakeOutside() {
	if o := &s.core.growth.outside; o.room != nil && (s.core.closed || s.core.growth.hasPlaceOutside(len(s.core.stock.all))) {
		close(o.room)
		o.room = nil
	}
}

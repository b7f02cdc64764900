package sched

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// Scheduler is the core, with a lock, a clock and timers.
type Scheduler struct {
	cfg     Config // but for MaxGroupTime, which is the core's
	now     func() time.Time
	answers sync.Pool     // *answer, of waits that are over
	empty   chan struct{} // closed when closed with no conns and no dials
	emptied sync.Once

	mu    sync.Mutex
	core  core
	check Timer // calls tick
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

// unlock ends an event: it unlocks, and does what the event asks for.
func (s *Scheduler) unlock() {
	out, empty := s.core.out.done(), s.core.isEmpty()
	if out.check > 0 {
		if s.check == nil {
			s.check = s.cfg.After(out.check, s.tick)
		} else {
			s.check.Reset(out.check)
		}
	}
	if c := out.join; c != nil {
		if c.waiting == nil {
			c.waiting = s.cfg.After(out.joinIn, func() { s.joinDue(c) })
		} else {
			c.waiting.Reset(out.joinIn)
		}
	}
	s.mu.Unlock()
	for a := out.first; a != nil; {
		a = a.send()
	}
	for range out.dials {
		s.cfg.Dial()
	}
	if out.carry != nil {
		s.cfg.Carry(out.carry)
	}
	if out.close != nil {
		s.cfg.Close(out.close)
	}
	if empty {
		s.emptied.Do(func() { close(s.empty) })
	}
}

func (s *Scheduler) tick() {
	s.mu.Lock()
	defer s.unlock()
	s.core.tick(s.now())
}

func (s *Scheduler) joinDue(c *Conn) {
	s.mu.Lock()
	due := s.core.joinDue(c, s.now())
	s.unlock()
	if due {
		s.cfg.Send(c)
	}
}

// Begin notes that a dial for c, which is owner's, begins: what is fenced from now on, c is too.
func (s *Scheduler) Begin(c *Conn, owner any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.core.stock.begin(c, owner)
}

// Dialed adds c, whose dial took so long. It returns what was lacking until then.
func (s *Scheduler) Dialed(c *Conn, took time.Duration) (until Lack) {
	s.mu.Lock()
	defer s.unlock()
	return s.core.dialed(c, took, s.now())
}

// DialFailed ends a dial that began at start, with err, which comes to lacks.
func (s *Scheduler) DialFailed(err error, lacks Lack, start time.Time) {
	s.mu.Lock()
	defer s.unlock()
	s.core.dialFailed(err, lacks, start, s.now())
}

// IsKnown reports whether a dial's failure that comes to l says nothing new.
func (s *Scheduler) IsKnown(l Lack) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.core.outage.lack
	return l.Err != nil && was.Err != nil && l.Full == was.Full
}

// FailedDials is how many dials have failed in a row.
func (s *Scheduler) FailedDials() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.core.outage.failures
}

// Release takes c back, which is fit for the next user. With waits it has something to send, which is to go with the next user's
// statement or, soon, alone.
func (s *Scheduler) Release(c *Conn, waits bool, now time.Time) {
	s.mu.Lock()
	defer s.unlock()
	s.core.release(c, waits, now)
}

// Retain ends c's hold while c stays counted: it is being cleaned in the background, and Release or Drop follows. Leaves is Retain for a
// connection that is being closed: Drop follows. Drop forgets one that the server has let go of.
func (s *Scheduler) Retain(c *Conn) { s.put(c, (*core).retain) }
func (s *Scheduler) Leaves(c *Conn) { s.put(c, (*core).leaves) }
func (s *Scheduler) Drop(c *Conn)   { s.put(c, (*core).drop) }

func (s *Scheduler) put(c *Conn, where func(*core, *Conn, time.Time)) {
	s.mu.Lock()
	defer s.unlock()
	where(&s.core, c, s.now())
}

// Washing notes that n more connections are being cleaned, which takes a round trip.
func (s *Scheduler) Washing(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.core.growth.washing += n
}

// SetFloor has n connections opened, and reopened, without waiting for demand.
func (s *Scheduler) SetFloor(n int) {
	s.mu.Lock()
	defer s.unlock()
	s.core.setFloor(n, s.now())
}

// Replace has a connection dialed for one that is about to be closed, and reports whether there is room for both.
func (s *Scheduler) Replace() bool {
	s.mu.Lock()
	defer s.unlock()
	return s.core.replace(s.now())
}

// Await waits until it is time for g's next group to board: who comes a moment late waits for the whole of another turn.
func (s *Scheduler) Await(g *Group) {
	s.mu.Lock()
	q := &s.core.queue
	decided := q.sharing >= q.group || q.head != nil && q.head.Share == nil // there are enough, or there will be no group
	s.mu.Unlock()
	if !decided {
		g.aboard.Wait()
	}
}

// Next has those board g who are next, and is false if its turn is over: the head of the queue does not share, or there is none. One that
// has no company gets the connection for itself, unless it may be alone.
func (s *Scheduler) Next(g *Group, alone bool) bool {
	s.mu.Lock()
	defer s.unlock()
	return s.core.nextGroup(g, alone, s.now())
}

// Alone has r want a connection of its own from now on.
func (r *Request) Alone() { r.Share = nil }

// Answer ends the wait of a request that was shared, once.
func (*Scheduler) Answer(r *Request) {
	if !r.told {
		r.told = true
		r.answer.send()
	}
}

// TakeIdle removes the idle connections for which surplus is true, from the longest idle on. They are the caller's to close. surplus is
// called with the lock held.
func (s *Scheduler) TakeIdle(surplus func(c *Conn, idle, open int) bool) []*Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.core.takeIdle(surplus)
}

// Fence gives up all connections that were dialed before now, unless c is given up already; a nil c is none. It returns those that are idle: they
// are the caller's to close.
func (s *Scheduler) Fence(c *Conn) (idle []*Conn, first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.core.fence(c)
}

// Holders lists what the connections are held for.
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

// Close refuses everybody from now on, and returns the idle connections.
func (s *Scheduler) Close() []*Conn {
	s.mu.Lock()
	defer s.unlock()
	return s.core.close()
}

// Empty is closed after Close, once the last connection was dropped and the last dial is over.
func (s *Scheduler) Empty() <-chan struct{} { return s.empty }

// LeastHold is for how long a connection is held at the least, lately: what a statement takes, with its way there and back.
func (s *Scheduler) LeastHold() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.core.growth.leastHold.d
}

// SetMaxGroupTime is Config.MaxGroupTime, later.
func (s *Scheduler) SetMaxGroupTime(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.core.cfg.MaxGroupTime = d
}

// Stats is a snapshot.
func (s *Scheduler) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := &s.core
	return Stats{
		Totals: k.totals,
		Held:   k.stock.held, Idle: len(k.stock.idle), Dialing: k.growth.dialing, Total: len(k.stock.all) + k.growth.dialing,
		Max: k.growth.max, Limit: k.growth.limit, Queued: k.queue.len,
		DialTime: k.growth.dial.d, HoldTime: k.growth.hold.d,
	}
}

// Acquire lends r a connection, in order of arrival; it returns nil without an error if r was shared instead. first puts r in front of
// the queue: its turn had come, but what it got was no good.
func (s *Scheduler) Acquire(ctx context.Context, r *Request, first bool) (c *Conn, err error) {
	c, err = s.Ask(ctx, r, first, nil)
	if c != nil || err != nil {
		return c, err
	}
	a := r.answer
	for done := s.cfg.Done(r); err == nil; {
		select {
		case <-a.ready:
			return s.Take(r)
		case <-a.again:
			s.share(r, s.cfg.Prepare(ctx, r))
		case <-ctx.Done():
			err = ctx.Err()
		case <-done:
			err = s.cfg.Gone(r)
		}
	}
	return nil, s.Leave(ctx, r, err)
}

// Ask is Acquire up to where it would block: with neither a connection nor an error r waits, until Take or Leave. told is called once r has its
// answer, at the end of the event that gives it; nil: Acquire waits for that.
func (s *Scheduler) Ask(ctx context.Context, r *Request, first bool, told func(*Conn, error)) (*Conn, error) {
	now := r.Asked // a moment ago: a clock can take longer to read than all of this
	if first || now.IsZero() {
		now = s.now()
	}
	c, err := s.take(ctx, r, now)
	if c == nil && err == nil && r.MayShare && !r.asked {
		r.asked = true
		s.mu.Unlock()
		r.Share = s.cfg.Prepare(ctx, r)
		c, err = s.take(ctx, r, now)
	}
	if c != nil || err != nil {
		s.mu.Unlock()
		return c, err
	}
	_, bounded := ctx.Deadline()
	a := s.answers.Get().(*answer)
	a.told = told
	r.begin(a, bounded)
	s.core.wait(r, first, s.now())
	s.unlock()
	return nil, nil
}

// Take ends the wait of r, which has its answer, with what Acquire returns then.
func (s *Scheduler) Take(r *Request) (*Conn, error) {
	r.goesOn()
	a := r.answer
	c, err := a.take()
	s.answers.Put(a)
	return c, err
}

// Leave ends the wait of r, whose ctx or invocation has ended with err, with what Acquire returns then. What r got at the same moment goes to
// the next.
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
			s.Release(c, c.waits, s.now())
		}
	}
	return err
}

// AskAgain has all who wait for a connection of their own, and may share, asked again whether they can: more is known than when they
// came. Each keeps its place.
func (s *Scheduler) AskAgain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for r := s.core.queue.head; r != nil; r = r.next {
		if r.MayShare && r.Share == nil {
			select {
			case r.answer.again <- struct{}{}:
			default: // it has not come to it yet
			}
		}
	}
}

// share has r, if it still waits, share from now on.
func (s *Scheduler) share(r *Request, with Share) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if with != nil && r.queued {
		s.core.queue.count(r, -1)
		r.Share = with
		s.core.queue.count(r, 1)
	}
}

// take is core.take, and returns with the lock held.
func (s *Scheduler) take(ctx context.Context, r *Request, now time.Time) (*Conn, error) {
	gone := s.cfg.Gone(r)
	if gone == nil {
		gone = ctx.Err()
	}
	s.mu.Lock()
	return s.core.take(r, gone, now)
}

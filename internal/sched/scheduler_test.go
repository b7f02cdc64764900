package sched

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var errLacks = errors.New("something is lacking")

// desk is a scheduler whose dials are the test's.
type desk struct {
	*Scheduler
	t     *testing.T
	ctx   context.Context
	dials chan struct{} // one for each dial that was begun
}

// testConfig is of a scheduler whose requests have no scope, and do not share.
func testConfig(maxConns int) Config {
	return Config{
		Max: maxConns, MaxGroup: 32, MaxGroupTime: func() time.Duration { return 20 * time.Millisecond }, Patience: 5 * time.Second,
		Dial:    func() {},
		Prepare: func(context.Context, *Request) Share { return nil },
		Traits:  func(context.Context, *Request) Traits { return Traits{} },
		Gone:    func(*Request) error { return nil },
		Done:    func(*Request) <-chan struct{} { return nil },
		Group:   func(*Conn) *Group { return &Group{} },
		Carry:   func(*Group) {},
		Close:   func(*Conn) {},
		Send:    func(*Conn) {},
	}
}

func newDesk(t *testing.T, maxConns int) *desk {
	d := &desk{t: t, dials: make(chan struct{}, 100)}
	cfg := testConfig(maxConns)
	cfg.Dial = func() { d.dials <- struct{}{} }
	d.Scheduler = New(cfg)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	d.ctx = ctx
	return d
}

// grant is how an Acquire ended.
type grant struct {
	c   *Conn
	err error
}

// queue adds a request that waits, and returns where its end comes.
func (d *desk) queue(first bool) <-chan grant {
	d.t.Helper()
	before := d.Stats()
	end := make(chan grant, 1)
	go func() {
		c, err := d.Acquire(d.ctx, &Request{Asked: time.Now()}, first)
		end <- grant{c, err}
	}()
	require.Eventually(d.t, func() bool {
		s := d.Stats()
		return s.Queued > before.Queued || s.Acquires > before.Acquires
	}, 5*time.Second, 100*time.Microsecond)
	return end
}

func (d *desk) put(c *Conn) { d.Release(c, 0, d.now()) }

func (d *desk) dialed(c *Conn) { d.Dialed(c, time.Millisecond) }

// begun makes a connection whose dial begins now.
func (d *desk) begun() *Conn {
	c := &Conn{}
	d.Begin(c, nil)
	return c
}

// share is one that costs nothing.
type share struct{ withdrawn bool }

func (*share) Cost() time.Duration { return 0 }
func (s *share) Withdraw(error)    { s.withdrawn = true }

// open makes a connection that is out.
func (d *desk) open() *Conn {
	d.t.Helper()
	end := d.queue(false)
	<-d.dials
	d.dialed(d.begun())
	return (<-end).c
}

func TestABackOffThatIsOverDelaysNoDial(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 3)
	c := d.open()
	second := d.queue(false)
	<-d.dials
	d.mu.Lock()
	d.core.outage.failures = 7
	d.mu.Unlock()
	d.DialFailed(errors.New("no"), Lack{}, time.Now()) // rests for 3 s at least
	d.Drop(c)                                          // but with nothing left a dial begins as soon as the last one is a while ago
	<-d.dials
	d.dialed(&Conn{})
	<-second
	d.open()
	d.mu.Lock()
	d.core.growth.hold = average{d: time.Millisecond, any: true} // so that only the wait itself asks for more
	d.mu.Unlock()
	began := time.Now()
	d.queue(false)
	<-d.dials
	assert.Less(t, time.Since(began), time.Second)
}

func TestASuccessfulDialEndsTheBackOff(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 3)
	d.open()
	for range 3 {
		d.queue(false)
	}
	<-d.dials
	d.mu.Lock()
	d.core.outage.failures = 7
	d.core.outage.notBefore = time.Now().Add(time.Hour)
	d.mu.Unlock()
	d.dialed(&Conn{}) // the second of three
	select {
	case <-d.dials:
	case <-d.ctx.Done():
		t.Error("the others get no dial")
	}
	d.DialFailed(errors.New("no"), Lack{}, time.Now())
	assert.Less(t, time.Until(d.core.outage.notBefore), 60*time.Millisecond, "it begins small again")
}

func TestAConnectionServedToWhoJustLeftGoesToTheNext(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 1)
	c := d.open()
	for range 10 {
		ctx, cancel := context.WithCancel(d.ctx)
		end := make(chan grant, 1)
		go func() {
			c, err := d.Acquire(ctx, &Request{Asked: time.Now()}, false)
			end <- grant{c, err}
		}()
		require.Eventually(t, func() bool { return d.Stats().Queued == 1 }, 30*time.Second, 10*time.Microsecond)
		d.mu.Lock()
		cancel()
		time.Sleep(time.Millisecond) // it sees its ctx's end and wants the lock
		d.core.release(c, 0, d.now())
		d.unlock()
		if g := <-end; g.err == nil {
			d.put(g.c)
		}
		g, err := d.Acquire(d.ctx, &Request{Asked: time.Now()}, false) // else waits for ever
		require.NoError(t, err)
		require.Same(t, c, g)
	}
}

func TestWhoGotABadConnectionIsNext(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 1)
	c := d.open()
	d.queue(false)
	again := d.queue(true)
	d.put(c)
	select {
	case g := <-again:
		assert.Same(t, c, g.c)
	case <-d.ctx.Done():
		t.Error("somebody else was served")
	}
}

func TestAFailedDialIsNoErrorOfWhoCameLater(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 1)
	first := d.queue(false)
	<-d.dials
	start := time.Now()
	time.Sleep(time.Millisecond) // the clock must move
	later := d.queue(false)
	d.DialFailed(errors.New("no"), Lack{}, start)
	assert.EqualError(t, (<-first).err, "no")
	<-d.dials // one of its own, at once
	d.dialed(&Conn{})
	assert.NoError(t, (<-later).err)
}

func TestAFailedDialIsNoErrorWhileAnotherRuns(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 2)
	d.mu.Lock()
	d.core.growth.limit = 2
	d.mu.Unlock()
	a, b := d.queue(false), d.queue(false)
	<-d.dials
	<-d.dials
	d.DialFailed(errors.New("no"), Lack{}, time.Now())
	assert.Empty(t, a)
	d.dialed(&Conn{})
	c := (<-a).c
	d.put(c)
	assert.NoError(t, (<-b).err)
}

func TestDialsAreNoStampede(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 64)
	d.open()
	d.mu.Lock()
	d.core.growth.hold, d.core.growth.leastHold = average{d: time.Second, any: true}, least{average{d: time.Second, any: true}}
	d.mu.Unlock()
	for range 64 {
		d.queue(false)
	}
	assert.EqualValues(t, maxDials, d.Stats().Dialing)
}

func TestIfAllConnectionsAreBeingClosedADialBeginsAtOnce(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 2)
	c := d.open()
	d.mu.Lock()
	d.core.growth.dial.d = time.Hour // so that no stall is worth a dial
	d.mu.Unlock()
	d.Leaves(c)
	end := d.queue(false)
	require.EqualValues(t, 1, d.Stats().Dialing)
	d.queue(false)
	require.EqualValues(t, 1, d.Stats().Dialing, "the dial that runs is for both")
	d.dialed(d.begun())
	assert.NoError(t, (<-end).err)
}

// A clock that stands still while the process is frozen makes nothing look young, and a clock that is set back makes nothing look old.
func TestTheAgeIsThatOfTheClockThatSaysMore(t *testing.T) {
	t.Parallel()
	const mono, wall = 0, 20 * time.Minute
	now := time.Now()
	since := now
	seconds := uint64(wall / time.Second)
	*(*uint64)(unsafe.Pointer(&since)) -= seconds << 30 // the wall clock's seconds, see the fields of time.Time
	require.Equal(t, time.Duration(mono), now.Sub(since))
	require.Equal(t, wall, now.Round(0).Sub(since.Round(0)))
	assert.Equal(t, wall, Age(since, now))
	assert.Equal(t, time.Duration(mono), Age(now, since))
	assert.Equal(t, time.Minute, Age(now, now.Add(time.Minute)))
	assert.Equal(t, -time.Minute, Age(now, now.Add(-time.Minute)))
}

func TestAStallIsAsDearAsThoseWhomOneMoreConnectionWouldServe(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		queue   string // r rides, l waits for a lease
		freed   bool
		washing int
		dialing int
		owed    time.Duration
	}{
		{"nobody", "", false, 0, 0, 0},
		{"a lease", "l", false, 0, 0, stallTick},
		{"of leases the first", "llll", false, 0, 0, stallTick},
		{"reads all that wait", "rrrlr", false, 0, 0, 4 * stallTick},
		{"but no read behind a lease", "lrrr", false, 0, 0, stallTick},
		{"up to a flight", strings.Repeat("r", 2*32), false, 0, 0, 32 * stallTick},
		{"something came free", "rrr", true, 0, 0, 0},
		{"something will, in a round trip", "rrr", false, 1, 0, 0},
		{"they wait for a dial", "rrr", false, 0, 1, 0},
	} {
		d := newDesk(t, 1) // has no room to dial, so the only look is the test's
		d.open()
		d.mu.Lock()
		for _, what := range c.queue {
			r := &Request{}
			if what == 'r' {
				r.Share = &share{}
			}
			d.core.queue.push(r, false)
		}
		d.core.growth.wasFreed, d.core.growth.washing, d.core.growth.dialing = c.freed, c.washing, c.dialing
		d.mu.Unlock()
		d.event((*core).tick)
		d.mu.Lock()
		assert.Equal(t, c.owed, d.core.growth.debt.d, c.name)
		d.mu.Unlock()
	}
}

func TestWhatComesFreeEndsAStall(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 1)
	c := d.open()
	end := d.queue(false)
	d.queue(false)
	d.mu.Lock()
	d.core.growth.wasFreed = false // a tick begins
	d.mu.Unlock()
	d.event((*core).tick)
	d.mu.Lock()
	assert.Equal(t, stallTick, d.core.growth.stalled)
	d.mu.Unlock()
	d.put(c)
	<-end
	d.event((*core).tick)
	d.mu.Lock()
	assert.Zero(t, d.core.growth.stalled, "the tick was not a whole one")
	d.mu.Unlock()
}

func TestTheFloorIsReachedThoughADialFails(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 4)
	d.put(d.open())
	d.SetFloor(2)
	<-d.dials
	d.DialFailed(errors.New("no"), Lack{}, time.Now())
	select {
	case <-d.dials: // by itself, after the rest
	case <-d.ctx.Done():
		t.Error("no other dial")
	}
}

func TestHoldsAreMeasured(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 4)
	c := d.open()
	d.mu.Lock()
	c.since = c.since.Add(-time.Second)
	d.mu.Unlock()
	d.put(c)
	assert.InDelta(t, time.Second, d.Stats().HoldTime, float64(100*time.Millisecond))
	_, err := d.Acquire(d.ctx, &Request{Asked: time.Now()}, false)
	require.NoError(t, err)
	d.queue(false)
	assert.EqualValues(t, 1, d.Stats().Dialing, "a hold is long: not even 10 ms are waited")
}

// twoIdle opens two connections, of which b is used last.
func (d *desk) twoIdle() (a, b *Conn) {
	a = d.open()
	d.mu.Lock()
	d.core.growth.limit = 2
	d.mu.Unlock()
	b = d.open()
	d.put(a)
	d.put(b)
	return a, b
}

func TestReapingLowersTheLimit(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 4)
	a, b := d.twoIdle()
	taken := d.TakeIdle(func(_ *Conn, idle, open int) bool { return idle > 1 })
	assert.Equal(t, []*Conn{a}, taken, "the longest idle")
	assert.Equal(t, 1, d.Stats().Limit)
	c, err := d.Acquire(d.ctx, &Request{Asked: time.Now()}, false)
	require.NoError(t, err)
	assert.Same(t, b, c)
}

func TestTheLastUsedIsUsedFirst(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 4)
	_, b := d.twoIdle()
	c, err := d.Acquire(d.ctx, &Request{Asked: time.Now()}, false)
	require.NoError(t, err)
	assert.Same(t, b, c)
}

func TestWhatBecomesOfAConnection(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 2)
	a, b := d.twoIdle()
	for range 2 {
		_, err := d.Acquire(d.ctx, &Request{Asked: time.Now()}, false)
		require.NoError(t, err)
	}
	d.Retain(a)
	d.Washing(2)
	d.Washing(-1)
	d.Leaves(b)
	assert.False(t, a.leaving, "it comes back")
	assert.True(t, b.leaving)
	assert.Equal(t, 1, d.core.growth.washing)
	s := d.Stats()
	assert.Equal(t, [2]int{0, 2}, [2]int{s.Held, s.Total}, "nobody has them, the server does")
	assert.Empty(t, d.Close())
	d.Drop(a)
	assert.Equal(t, 1, d.Stats().Total)
	select {
	case <-d.Empty():
		t.Error("there is one yet")
	default:
	}
	d.Drop(b)
	<-d.Empty()
}

// Of two callbacks that wait for each other's connection only the younger one is broken off.
func TestTheYoungestInAStandstillIsTold(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 2)
	var holders [2]Request
	conns := [2]*Conn{{holder: &holders[0]}, {holder: &holders[1]}}
	k, now := d.core, time.Now()
	k.stock.all, k.stock.held = conns[:], 2
	var waiting [2]Request
	for i, in := range []int{0, 1} {
		waiting[i] = Request{Within: &Within{Holds: &holders[in]}, Asked: now}
		waiting[i].begin(newAnswer(), time.Time{}, true)
		_ = k.wait(&waiting[i], false, now)
	}
	assert.True(t, waiting[0].queued)
	assert.False(t, waiting[1].queued)
	assert.EqualValues(t, 1, k.totals.Nested)
	out := k.out.done()
	nested := &NestedError{}
	require.ErrorAs(t, out.first.err, &nested)
	assert.Same(t, &holders[1], nested.Held)
}

// What is held by nobody is being cleaned, and comes free, whatever a callback that holds nothing waits for.
func TestWhatIsBeingCleanedIsNoStandstill(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 1)
	d.Retain(d.open())
	d.mu.Lock()
	defer d.mu.Unlock()
	r := &Request{Within: &Within{Outer: &Within{}}, Asked: time.Now()}
	r.begin(newAnswer(), time.Time{}, true)
	_ = d.core.wait(r, false, time.Now())
	assert.True(t, r.queued)
}

func TestAWaitForgetsTheGroupOfTheLastOne(t *testing.T) {
	t.Parallel()
	r := &Request{}
	r.begin(newAnswer(), time.Time{}, true)
	r.aboard, r.told, r.failed = &(&Group{}).aboard, true, true
	r.begin(newAnswer(), time.Time{}, false)
	r.goesOn() // would panic
	assert.Equal(t, marks{}, r.marks)
}

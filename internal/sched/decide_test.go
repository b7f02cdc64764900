package sched

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// world is a program of events, drawn by a seed, for a core in a time of its own. It logs what comes out, and holds it
// against what it knows itself.
type world struct {
	t      *testing.T
	k      *core
	rnd    *rand.Rand
	now    time.Time
	log    bytes.Buffer
	check  time.Time           // when tick is due; zero: it is not
	epoch  time.Time           // when the part of an epoch ends; zero: there is none
	joins  map[*Conn]time.Time // when joinDue is
	conns  int                 // that were ever dialed
	ceil   int                 // what setCeiling was told last
	asks   int
	closed bool

	dials   []dialing
	waiting []*caller // in order of arrival
	holding []*Conn   // by a request
	groups  []*Group
	washing []*Conn
	closing []*Conn

	lent, opened, failed, nested, refused int64
}

type dialing struct {
	c     *Conn
	start time.Time
}

// caller is the owner of a request.
type caller struct {
	id   int
	cost time.Duration
	r    Request
}

func (c *caller) Cost() time.Duration { return c.cost }
func (c *caller) Withdraw(error)      {}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), now: time.Unix(1e9, 0), joins: map[*Conn]time.Time{}}
	cfg := testConfig(1 + w.rnd.IntN(6))
	cfg.MaxGroup = 4
	cfg.Random = func(d time.Duration) time.Duration { return time.Duration(w.rnd.Int64N(int64(d))) }
	w.k, w.ceil = newCore(cfg), cfg.Max
	return w
}

func (w *world) say(format string, args ...any) { fmt.Fprintf(&w.log, format+"\n", args...) }

// pick takes one of list; nil or zero: there is none.
func pick[T any](w *world, list *[]T) (one T) {
	if len(*list) > 0 {
		i := w.rnd.IntN(len(*list))
		one = (*list)[i]
		*list = slices.Delete(*list, i, i+1)
	}
	return one
}

// step is one event, and what comes of it.
func (w *world) step() {
	switch w.rnd.IntN(20) {
	case 0, 1, 2, 3, 4:
		w.ask()
	case 5:
		if c := pick(w, &w.waiting); c != nil {
			queued, err := w.k.leave(&c.r, errLeft, true, w.now)
			w.say("%d leaves: %v %v", c.id, queued, err)
			require.True(w.t, queued)
		}
	case 6, 7, 8:
		w.release(pick(w, &w.holding))
	case 9:
		if c := pick(w, &w.holding); c != nil {
			if w.rnd.IntN(2) == 0 {
				c.GaveUp(w.rnd.IntN(2) == 0)
			}
			w.say("retain %v", c.Owner)
			w.k.retain(c, w.now)
			w.k.growth.washing++
			w.washing = append(w.washing, c)
		}
	case 10:
		if c := pick(w, &w.washing); c != nil {
			w.k.growth.washing--
			w.release(c)
		}
	case 11:
		w.retire(pick(w, &w.holding))
	case 12:
		if c := pick(w, &w.closing); c != nil {
			w.say("drop %v", c.Owner)
			w.k.drop(c, w.now)
		}
	case 13, 14, 15:
		w.dialEnds()
	case 16:
		w.groupGoesOn()
	case 17:
		w.rare()
	default:
		w.passes(time.Duration(w.rnd.Int64N(int64(10 * time.Millisecond))))
	}
	w.do(w.k.out.done())
	w.holds()
}

var (
	errLeft = errors.New("out of time")
	errDial = errors.New("refused")
)

func (w *world) ask() {
	w.asks++
	c := &caller{id: w.asks, cost: time.Duration(w.rnd.Int64N(int64(12 * time.Millisecond)))}
	c.r.Owner, c.r.Asked = c, w.now
	got, err := w.k.take(&c.r, false, nil, w.now)
	switch {
	case err != nil:
		require.True(w.t, w.closed)
	case got != nil:
		w.say("%d gets %v at once", c.id, got.Owner)
		w.lent++
		w.holding = append(w.holding, got)
	default:
		switch w.rnd.IntN(4) {
		case 0, 1:
			c.r.Share = c
		case 2:
			if len(w.holding) > 0 {
				c.r.Within = &Within{Holds: w.holding[w.rnd.IntN(len(w.holding))].holder}
			}
		}
		first := w.rnd.IntN(10) == 0
		bounded, due := w.rnd.IntN(3) > 0, time.Time{}
		if w.rnd.IntN(4) > 0 { // also some without a deadline, whom MaxWait bounds
			due = w.now.Add(time.Duration(w.rnd.Int64N(int64(100 * time.Millisecond))))
		}
		c.r.begin(newAnswer(), due, bounded)
		if w.rnd.IntN(3) == 0 {
			c.r.answer.Traits = Traits{Expect: c.cost}
		}
		if c.r.Within != nil {
			c.r.answer.Traits = Traits{Holds: true}
		}
		if err := w.k.wait(&c.r, first, w.now); err != nil {
			w.refused++
			w.say("%d is refused: %+v", c.id, err)
			require.ErrorAs(w.t, err, new(*NoTimeError))
			require.False(w.t, c.r.queued)
			return
		}
		w.say("%d waits: shares %v, first %v, until %v", c.id, c.r.Share != nil, first, c.r.answer.latest.Sub(w.now))
		switch at := slices.IndexFunc(w.waiting, func(o *caller) bool { return !o.r.ahead }); {
		case first:
			w.waiting = slices.Insert(w.waiting, 0, c)
		case c.r.answer.Holds && at >= 0:
			w.waiting = slices.Insert(w.waiting, at, c)
		default:
			w.waiting = append(w.waiting, c)
		}
	}
}

func (w *world) release(c *Conn) {
	if c == nil {
		return
	}
	waits := w.rnd.IntN(3) == 0
	w.say("release %v, waits %v", c.Owner, waits)
	wait := time.Duration(0)
	if waits {
		wait = JoinWithin
	}
	w.k.release(c, wait, w.now)
}

func (w *world) retire(c *Conn) {
	if c == nil {
		return
	}
	w.say("close %v", c.Owner)
	w.k.leaves(c, w.now)
	w.closing = append(w.closing, c)
}

func (w *world) dialEnds() {
	if len(w.dials) == 0 {
		return
	}
	d := pick(w, &w.dials)
	lacks := Lack{}
	switch w.rnd.IntN(6) {
	case 0:
	case 1:
		lacks = Lack{Err: errLacks}
	case 2:
		lacks = Lack{Err: errLacks, Full: true}
	default:
		w.say("dialed %v", d.c.Owner)
		w.opened++
		w.k.dialed(d.c, w.now.Sub(d.start), w.now)
		return
	}
	w.say("dial of %v failed: %v", d.c.Owner, lacks)
	w.failed++
	w.k.dialFailed(errDial, lacks, d.start, w.now)
}

// groupGoesOn has a group answered, and goes on with the next or gives its connection back.
func (w *world) groupGoesOn() {
	g := pick(w, &w.groups)
	if g == nil {
		return
	}
	for range g.Requests {
		g.aboard.Done()
	}
	before := slices.Clone(w.waiting)
	if w.k.nextGroup(g, w.rnd.IntN(2) == 0, w.now) {
		w.boards(g, before)
		w.groups = append(w.groups, g)
		return
	}
	w.release(g.conn)
}

func (w *world) rare() {
	switch w.rnd.IntN(6) {
	case 0:
		n := w.rnd.IntN(4)
		w.say("floor %d", n)
		w.k.setFloor(n, w.now)
	case 1:
		w.say("replace: %v", w.k.replace(w.now))
	case 2:
		for _, c := range w.k.takeIdle(func(*Conn, int, int) bool { return w.rnd.IntN(2) == 0 }) {
			w.retire(c)
		}
	case 3:
		if len(w.holding) == 0 {
			return
		}
		idle, first := w.k.fence(w.holding[0])
		w.say("fence: %v", first)
		for _, c := range idle {
			w.retire(c)
		}
	}
}

// passes lets time pass, with the timers that are due meanwhile.
func (w *world) passes(d time.Duration) {
	end := w.now.Add(d)
	for _, c := range slices.Clone(w.waiting) {
		if c.r.isLate(end) && c.r.queued {
			w.now = maxTime(w.now, c.r.answer.latest)
			err := w.k.tooLate(&c.r, w.now)
			w.refused++
			w.say("%d is too late: %+v", c.id, err)
			w.waiting = slices.DeleteFunc(w.waiting, func(o *caller) bool { return o == c })
			w.do(w.k.out.done())
		}
	}
	if w.check.After(w.now) && !w.check.After(end) {
		w.now, w.check = w.check, time.Time{}
		w.say("tick")
		w.k.tick(w.now)
		w.do(w.k.out.done())
	}
	if w.epoch.After(w.now) && !w.epoch.After(end) {
		w.now, w.epoch = w.epoch, time.Time{}
		w.k.epoch(w.now)
		w.say("epoch: %d", w.k.growth.epochs.cap)
		w.do(w.k.out.done())
	}
	due := make([]*Conn, 0, len(w.joins))
	for c, at := range w.joins {
		if !at.After(end) {
			due = append(due, c)
		}
	}
	slices.SortFunc(due, func(a, b *Conn) int { return a.Owner.(int) - b.Owner.(int) })
	for _, c := range due {
		w.now = maxTime(w.now, w.joins[c])
		delete(w.joins, c)
		if w.k.joinDue(c, w.now) {
			w.say("%v sends alone", c.Owner)
			w.washing = append(w.washing, c)
			w.k.growth.washing++
		}
		w.do(w.k.out.done())
	}
	w.now = maxTime(w.now, end)
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// do is what the Scheduler does after an event.
func (w *world) do(out actions) {
	for a := out.first; a != nil; {
		i := slices.IndexFunc(w.waiting, func(c *caller) bool { return c.r.answer == a })
		require.GreaterOrEqual(w.t, i, 0, "an answer for somebody who does not wait, or twice")
		c := w.waiting[i]
		got, err := a.c, a.err
		w.say("%d gets %v %v", c.id, owner(got), err)
		require.True(w.t, (got == nil) != (err == nil))
		require.False(w.t, got != nil && c.r.isLate(w.now), "it would not end in time")
		if n := (*NoTimeError)(nil); errors.As(err, &n) {
			w.refused++
			require.True(w.t, c.r.isLate(w.now), "it had time")
		}
		if n := (*NestedError)(nil); errors.As(err, &n) {
			w.nested++
			require.Same(w.t, n.Held, c.r.Within.Holds, "it waits inside what holds a connection")
			require.True(w.t, slices.ContainsFunc(w.holding, func(c *Conn) bool { return c.holder == n.Held }))
		}
		if got != nil {
			require.False(w.t, w.closed, "nothing is lent after close")
			require.False(w.t, slices.Contains(w.holding, got), "it is lent to two")
			kind := func(o *caller) bool { return (o.r.Share != nil) == (c.r.Share != nil) }
			if slices.ContainsFunc(w.waiting[:i], kind) {
				require.True(w.t, w.k.admission.pressed && !c.r.ahead, "%d overtakes one of its kind", c.id)
				require.False(w.t, slices.ContainsFunc(w.waiting[i+1:], kind), "%d is not the newest of its kind", c.id)
			}
			w.lent++
			w.holding = append(w.holding, got)
		}
		w.waiting = slices.Delete(w.waiting, i, i+1)
		a = a.send()
	}
	for range out.dials {
		w.conns++
		c := &Conn{Shares: true}
		w.k.stock.begin(c, w.conns)
		w.say("dial %d", w.conns)
		require.LessOrEqual(w.t, len(w.k.stock.all)+w.k.growth.dialing, w.k.growth.ceiling(), "a dial goes beyond the ceiling")
		w.dials = append(w.dials, dialing{c, w.now})
	}
	for g := out.carry; g != nil; g = g.next {
		require.False(w.t, w.closed)
		w.lent++
		w.boards(g, slices.Clone(w.waiting))
		w.groups = append(w.groups, g)
	}
	for _, c := range out.close {
		require.True(w.t, w.closed || w.k.growth.ceiling() < w.k.growth.max || w.k.growth.epochs.running)
		w.retire(c)
	}
	if out.check > 0 {
		require.True(w.t, w.check.IsZero(), "it is asked for once")
		w.check = w.now.Add(out.check)
	}
	if out.epoch > 0 {
		w.epoch = w.now.Add(out.epoch)
	}
	if out.join != nil {
		w.joins[out.join] = w.now.Add(out.joinIn)
	}
}

// boards takes those who have boarded g from before, who waited: the first of those who share.
func (w *world) boards(g *Group, before []*caller) {
	var ids []int
	for _, r := range g.Requests {
		ids = append(ids, r.Owner.(*caller).id)
	}
	var first []int
	for _, c := range before {
		if c.r.Share != nil && !c.r.isLate(w.now) && len(first) < len(ids) {
			first = append(first, c.id)
		}
	}
	require.Equal(w.t, first, ids, "those who share board in their order")
	require.LessOrEqual(w.t, len(ids), 4)
	w.waiting = slices.DeleteFunc(w.waiting, func(c *caller) bool { return slices.Contains(ids, c.id) })
	w.say("%v travel on %v, last %v", ids, g.conn.Owner, g.Last)
}

func owner(c *Conn) any {
	if c == nil {
		return nil
	}
	return c.Owner
}

// holds checks what always holds.
func (w *world) holds() {
	k := w.k
	open := len(k.stock.all)
	require.LessOrEqual(w.t, open+k.growth.dialing+k.growth.outside.used, k.growth.max, "never more than the server is asked for")
	require.False(w.t, k.queue.len > 0 && len(k.stock.idle) > 0 && k.stock.held < k.growth.room(&k.queue), "somebody waits beside an idle connection that may be lent")
	require.False(w.t, len(k.stock.idle) > 0 && k.isOver(), "an idle connection is above the ceiling")
	require.Equal(w.t, w.closed && open+len(w.dials)+k.growth.outside.used == 0, k.isEmpty())
	require.Equal(w.t, len(w.waiting), k.queue.len)
	require.Equal(w.t, len(w.dials), k.growth.dialing)
	require.Equal(w.t, len(w.holding)+len(w.groups), k.stock.held)
	require.Equal(w.t, open, len(k.stock.idle)+len(w.holding)+len(w.groups)+len(w.washing)+len(w.closing), "each is somewhere")
	require.Equal(w.t, []int64{w.lent, w.opened, w.failed, w.nested, w.refused}, []int64{k.totals.Acquires, k.totals.Opened, k.totals.FailedDials, k.totals.Nested, k.totals.Refused})
	if free := k.growth.dialing < k.outage.mostDials(k.growth.grewAt, w.now) && !k.outage.isResting(w.now) && !w.closed; free && w.check.IsZero() {
		require.GreaterOrEqual(w.t, open+k.growth.dialing, min(k.growth.floor, k.growth.ceiling()), "the floor is kept, or will be looked at")
		require.False(w.t, open+k.growth.dialing == 0 && k.queue.len > 0 && k.growth.ceiling() > 0, "somebody waits for nothing")
	}
}

// run is the log of a program, to its end: all that is out comes back, and nothing is left. after is called after each step.
func run(t *testing.T, seed uint64, steps int, after func(*world)) string {
	w := newWorld(t, seed)
	for range steps {
		w.step()
		after(w)
	}
	w.closed = true
	for _, c := range w.k.close() {
		w.retire(c)
	}
	w.do(w.k.out.done())
	require.Empty(t, w.waiting, "all have heard of it")
	for i := 0; len(w.k.stock.all)+len(w.dials) > 0; i++ {
		require.Less(t, i, 10_000, "it does not come to an end")
		w.step()
	}
	assert.True(t, w.k.isEmpty())
	return w.log.String()
}

func TestARunCanBeRepeatedToTheByte(t *testing.T) {
	t.Parallel()
	seen, all := map[string]bool{}, sha256.New()
	for seed := range uint64(60) {
		first := run(t, seed, 500, func(*world) {})
		require.Equal(t, first, run(t, seed, 500, func(*world) {}), "seed %d", seed)
		seen[first] = true
		all.Write([]byte(first))
	}
	assert.Len(t, seen, 60, "each seed is another program")
	// Whoever changes a decision on purpose has the new number here; whoever only moves code has not.
	assert.Equal(t, "694056435a43d2db", fmt.Sprintf("%.8x", all.Sum(nil)), "what is decided in these programs has changed")
}

// The same programs with a ceiling that moves.
func TestTheCeilingIsNeverExceeded(t *testing.T) {
	t.Parallel()
	above := 0
	for seed := range uint64(60) {
		run(t, seed, 500, func(w *world) {
			if w.rnd.IntN(20) == 0 {
				w.ceil = w.rnd.IntN(8)
				w.say("ceiling %d", w.ceil)
				w.k.setCeiling(w.ceil, w.now)
				w.do(w.k.out.done())
				w.holds()
			}
			if len(w.holding)+len(w.groups)+len(w.washing) > w.k.growth.ceiling() {
				above++
			}
		})
	}
	assert.NotZero(t, above, "at times more was in use than the new ceiling allows")
}

func TestWhatIsAboveTheCeilingIsGivenBack(t *testing.T) {
	t.Parallel()
	now := time.Unix(1e9, 0)
	k := newCore(testConfig(4))
	var conns []*Conn
	for range 4 {
		c := &Conn{}
		k.growth.dialing++
		k.dialed(c, time.Millisecond, now)
		conns = append(conns, c)
	}
	for range 2 {
		_, err := k.take(&Request{}, false, nil, now)
		require.NoError(t, err)
	}
	k.setCeiling(3, now)
	assert.Equal(t, conns[:1], k.out.done().close, "the one that would be used last, at once")
	k.setCeiling(1, now)
	assert.Equal(t, conns[1:2], k.out.done().close)
	k.drop(conns[0], now)
	k.drop(conns[1], now)
	waits := &Request{answer: newAnswer()}
	require.NoError(t, k.wait(waits, false, now))
	assert.Zero(t, k.out.done().dials)
	k.release(conns[3], JoinWithin, now)
	out := k.out.done()
	assert.Equal(t, conns[3:], out.close, "when it comes free, though somebody waits")
	assert.Nil(t, out.join)
	assert.True(t, waits.queued)
	k.drop(conns[3], now)
	k.release(conns[2], 0, now)
	out = k.out.done()
	assert.Same(t, waits.answer, out.first, "the last one stays")
	assert.Empty(t, out.close)
	k.setFloor(3, now)
	assert.Zero(t, k.out.done().dials, "no floor is above the ceiling")
	k.setCeiling(3, now)
	assert.Equal(t, 2, k.out.done().dials)
}

func TestAGroupThatIsAboveTheCeilingHasNoNext(t *testing.T) {
	t.Parallel()
	now := time.Unix(1e9, 0)
	cfg := testConfig(2)
	cfg.MaxGroup = 4
	k := newCore(cfg)
	conns := []*Conn{{Shares: true}, {Shares: true}}
	for _, c := range conns {
		k.growth.dialing++
		k.dialed(c, time.Millisecond, now)
		_, err := k.take(&Request{}, false, nil, now)
		require.NoError(t, err)
	}
	ask := func() {
		require.NoError(t, k.wait(&Request{Share: &caller{}, answer: newAnswer()}, false, now))
	}
	for range 4 {
		ask()
	}
	k.release(conns[0], 0, now)
	g := k.out.done().carry
	require.NotNil(t, g)
	ask()
	ask()
	k.setCeiling(1, now)
	assert.False(t, k.nextGroup(g, true, now))
	k.release(conns[0], 0, now)
	assert.Equal(t, conns[:1], k.out.done().close)
}

func TestWhatHasSomethingToSendWaitsForCompanyForAWhile(t *testing.T) {
	t.Parallel()
	k, c, now := newCore(testConfig(1)), &Conn{}, time.Unix(1e9, 0)
	lend := func() {
		got, err := k.take(&Request{}, false, nil, now)
		require.NoError(t, err)
		require.Same(t, c, got)
	}
	k.growth.dialing++
	k.dialed(c, time.Millisecond, now)
	lend()
	k.release(c, JoinWithin, now)
	out := k.out.done()
	require.Same(t, c, out.join)
	assert.Equal(t, JoinWithin, out.joinIn)
	assert.False(t, k.joinDue(c, now.Add(JoinWithin-1)))
	assert.EqualValues(t, 1, k.out.done().joinIn)
	lend()
	assert.False(t, k.joinDue(c, now.Add(JoinWithin)), "somebody has it")
	k.release(c, 0, now)
	assert.False(t, k.joinDue(c, now.Add(JoinWithin)), "it has sent it")
	lend()
	k.release(c, JoinWithin, now)
	assert.True(t, k.joinDue(c, now.Add(JoinWithin)))
	assert.Empty(t, k.stock.idle, "it is nobody's until it comes back")
}

func TestLoadIsOverWhenSomethingIsIdle(t *testing.T) {
	t.Parallel()
	k, c, r, now := newCore(testConfig(1)), &Conn{}, &Request{}, time.Unix(1e9, 0)
	r.begin(newAnswer(), time.Time{}, true)
	_ = k.wait(r, false, now)
	k.dialed(c, time.Millisecond, now.Add(time.Second))
	assert.Equal(t, now, k.growth.busySince)
	k.release(c, 0, now.Add(2*time.Second))
	assert.Zero(t, k.growth.busySince)
}

// Of three callers who hold a connection the second leaves, and the third comes after that: the first is still the first.
func TestWhoLeavesTheFrontDoesNotChangeItsOrder(t *testing.T) {
	t.Parallel()
	q := queue{group: 1}
	holds := func() *Request {
		r := &Request{answer: newAnswer()}
		r.answer.Holds = true
		q.push(r, false)
		return r
	}
	first, second := holds(), holds()
	require.True(t, q.remove(second))
	third := holds()
	assert.Same(t, first, q.head)
	assert.Same(t, third, q.tail)
	assert.Same(t, third, q.front)
}

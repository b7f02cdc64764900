package sim

import (
	"errors"
	"time"

	"github.com/lmipool/lmipool/internal/sched"
)

// books is an Env's own record of what the scheduler has done. The rules compare the two.
type books struct {
	e               *Env
	alone, together line // callers who wait for a connection of their own, and callers who share
	dials           int  // counts the dials that are under way
	limit, ceiling  int
	lent, opened    int64
	failed          int64
	refusedOf       int64
	roomAt          int // the event in which a caller was refused to make room for another
}

// line is a queue in order of arrival.
type line struct {
	head, tail *caller
	len        int
}

func (b *books) begin(e *Env) { b.e, b.limit, b.ceiling = e, 1, e.cfg.Max }

func (b *books) must(ok bool, rule string) { b.e.w.must(ok, rule) }

func (b *books) lineOf(c *caller) *line {
	if c.r.Share != nil {
		return &b.together
	}
	return &b.alone
}

// waits notes that c waits. If first is true, c has got a dead connection before, and is in front of all. A caller who holds a connection is in front of
// those who have just come and hold none.
func (b *books) waits(c *caller, first bool) {
	b.latest(c)
	b.must(!b.isLong(c, first) || b.roomAt == b.e.w.Events, "the queue is short under pressure, and never longer than MaxQueue")
	c.ahead = first || c.outer != nil
	l := b.lineOf(c)
	l.len++
	c.prev, c.next = l.tail, nil
	if c.ahead {
		c.prev, c.next = nil, l.head
	}
	for ; c.ahead && !first && c.next != nil && c.next.ahead; c.next = c.next.next {
		c.prev = c.next
	}
	if c.prev == nil {
		l.head = c
	} else {
		c.prev.next = c
	}
	if c.next == nil {
		l.tail = c
	} else {
		c.next.prev = c
	}
}

// isLong reports whether the queue is too long for c, because of MaxQueue or of pressure.
func (b *books) isLong(c *caller, first bool) bool {
	s := b.e.s.Stats()
	switch {
	case first || c.outer != nil:
		return false
	case b.e.cfg.MaxQueue > 0 && b.alone.len+b.together.len >= b.e.cfg.MaxQueue:
		return true
	case !s.Pressed || c.due == 0 || b.usable() == 0:
		return false
	}
	group := max(1, b.e.cfg.Group)
	turns := b.alone.len + (b.together.len+group-1)/group
	return time.Duration(turns+1)*s.Service/time.Duration(b.usable()) > max(2*s.Service, 10*time.Millisecond, c.r.Latest().Sub(b.e.w.Now())/4)
}

// latest checks the latest start of c, who begins to wait.
func (b *books) latest(c *caller) {
	at := c.r.Latest()
	if c.due == 0 {
		b.must(at.IsZero() == (b.e.cfg.MaxWait == 0), "MaxWait bounds the wait of a caller without a deadline")
		return
	}
	slack, before := c.due-b.e.w.now, epoch.Add(c.due).Sub(at)
	b.must(before >= 0, "the latest start is not after the deadline")
	switch {
	case b.usable() == 0:
		b.must(before == 0, "while there is no connection, a caller waits until its deadline")
	case c.kind.Known:
		b.must(before >= c.work || before == 0 && slack < c.work+b.e.s.Stats().LeastHold, "the latest start leaves time for work that is known")
	case c.r.Share == nil:
		b.must(before <= max(slack/2, 0), "what is known of others takes at most half of a caller's time")
	}
}

// usable counts the connections that can be lent now or later: those that are not fenced and not being closed.
func (b *books) usable() (n int) {
	for _, c := range b.e.conns {
		if c.is != closing && !c.place.Fenced() {
			n++
		}
	}
	return n
}

// refused notes that c has asked and gets err at once.
func (b *books) refused(c *caller, first bool, err error) {
	if n := (*sched.NoTimeError)(nil); errors.As(err, &n) {
		b.must(c.isLate() || b.isLong(c, first), "a caller is refused on arrival only if its time is over, or the queue is too long")
		b.refusedOf++
	}
}

func (b *books) removed(c *caller) {
	l := b.lineOf(c)
	l.len--
	if c.prev != nil {
		c.prev.next = c.next
	} else {
		l.head = c.next
	}
	if c.next != nil {
		c.next.prev = c.prev
	} else {
		l.tail = c.prev
	}
	c.prev, c.next = nil, nil
}

// lend notes that u gets c.
func (b *books) lend(c *conn, u *caller) {
	b.must(c.is == idle, "a connection that is lent was idle before")
	b.must(!b.e.closed, "no connection is lent after Close")
	b.fits(c)
	b.lent++
	c.is, c.user = lent, u
}

// fits checks that c, which is lent or carries on, is not above the ceiling. A fenced one is closed by whoever gets it.
func (b *books) fits(c *conn) {
	b.must(c.place.Fenced() || b.usable() <= b.ceiling, "while there are more connections than the ceiling allows, none that comes free is lent")
}

// told notes the scheduler's answer to c.
func (b *books) told(c *caller, got *sched.Conn, err error) {
	switch c.is {
	case waiting:
		if got != nil {
			l, pressed := b.lineOf(c), b.e.s.Stats().Pressed
			// If the event has emptied the queue, the pressure under which it served several callers is over by now.
			pressed = pressed || b.e.s.Stats().Queued == 0 && (b.isNewest(c) || b.isOldest(c))
			b.must(pressed || l.head == c, "callers who wait are served in order of arrival")
			b.must(!c.ahead || l.head == c, "callers whose turn had come, or who hold a connection, are served in order of arrival under any pressure")
			b.must(!pressed || b.isNewest(c) || b.isOldest(c), "under pressure the newest or the oldest is served first, of a key if keys count")
			b.must(!c.isLate(), "no caller is served after its latest start")
		}
		if n := (*sched.NoTimeError)(nil); errors.As(err, &n) {
			late := b.e.w.Now().Sub(c.r.Latest())
			makesRoom := b.e.cfg.Fair && !c.ahead && c.due > 0 && b.e.s.Stats().Pressed && b.hasMost(c)
			b.must(late >= 0 && late <= b.e.cfg.Wakes || makesRoom, "a caller who waits is refused at its latest start, or makes room if its key has most in the queue")
			if late < 0 {
				b.roomAt = b.e.w.Events
			}
			b.refusedOf++
		}
		b.removed(c)
	case aboard:
		b.must(got == nil && err == nil, "a caller in a group gets neither a connection nor an error")
		return
	default:
		b.must(c.is == asking && err != nil, "each request gets one answer")
	}
	b.must((got == nil) != (err == nil), "an answer is a connection or an error")
	if n := (*sched.NestedError)(nil); errors.As(err, &n) {
		b.must(c.outer != nil && n.Held == &c.outer.r, "a NestedError names the request that the caller's callback holds")
	}
	if got != nil {
		b.lend(got.Owner.(*conn), c)
	}
}

// isNewest and isOldest report whether c is the newest or the oldest caller of its line, or, if cfg.Fair is set, of its key.
func (b *books) isNewest(c *caller) bool {
	return !b.hasKey(c, c.next, func(o *caller) *caller { return o.next })
}

func (b *books) isOldest(c *caller) bool {
	return !b.hasKey(c, c.prev, func(o *caller) *caller { return o.prev })
}

// hasKey reports whether there is a caller, from o on, that competes with c: any, or, if cfg.Fair is set, one with the same key.
func (b *books) hasKey(c, o *caller, next func(*caller) *caller) bool {
	for b.e.cfg.Fair && o != nil && o.kind.Key != c.kind.Key {
		o = next(o)
	}
	return o != nil
}

// hasMost reports whether no key has more callers in the queue than the key of c.
func (b *books) hasMost(c *caller) bool {
	queued, most := map[string]int{}, 0
	for _, l := range []*line{&b.alone, &b.together} {
		for o := l.head; o != nil; o = o.next {
			queued[o.kind.Key]++
			most = max(most, queued[o.kind.Key])
		}
	}
	return queued[c.kind.Key] == most
}

// leaves notes that c, whose state was was, gives up its wait.
func (b *books) leaves(c *caller, was state) {
	switch {
	case was == waiting:
		b.removed(c)
	case was == hasAnswer && c.conn != nil: // the scheduler gives the connection to another caller
		c.conn.is, c.conn.user = idle, nil
	}
}

// fly notes that a group gets c.
func (b *books) fly(c *conn) {
	b.must(c.is == idle, "a connection that a group gets was idle before")
	b.must(!b.e.closed, "no group gets a connection after Close")
	b.lent++
	c.is = flying
}

// board notes that rs leave the queue as one group on c.
func (b *books) board(c *conn, rs []*sched.Request) {
	b.fits(c)
	b.must(len(rs) > 0 && len(rs) <= b.e.cfg.Group, "a group has from 1 to MaxGroup requests")
	var cost time.Duration
	for _, r := range rs {
		c := r.Owner.(*caller)
		cost += c.work
		first := b.together.head
		for first != nil && first.isLate() {
			first = first.next
		}
		b.must(c.is == waiting && first == c, "requests that share and are not late board in order of arrival")
		b.removed(c)
	}
	b.must(cost <= maxGroupTime || len(rs) == 1, "the requests of a group take MaxGroupTime together at most")
}

func (b *books) dial() {
	b.dials++
	b.must(len(b.e.conns)+b.dials <= b.ceiling, "no dial goes beyond the ceiling")
	if !b.e.s.Stats().Tuning {
		b.limit = max(b.limit, len(b.e.conns)+b.dials)
	}
}

// dialed checks c, which the scheduler has just got.
func (b *books) dialed(c *conn) {
	b.must(c.place.Fenced() == (c.fences < b.e.fences), "a fence gives up the connections that are being dialed")
}

func (b *books) dialEnds() {
	b.dials--
	b.opened++
}

func (b *books) dialFailed(l sched.Lack) {
	b.dials--
	b.failed++
	if l.Err != nil {
		b.limit = max(1, len(b.e.conns)+b.dials)
	}
}

func (b *books) moves(n int) { b.ceiling, b.limit = n, max(1, min(b.limit, n)) }

// tuned notes that the tuner has moved the limit.
func (b *books) tuned(m sched.Move) {
	b.must(m.From == b.limit && m.To != m.From, "the tuner moves the limit from where it is")
	b.must(m.To >= min(b.e.cfg.Min, b.ceiling) && m.To <= b.ceiling, "the tuner moves the limit between Min and the ceiling")
	b.limit = m.To
}

func (b *books) surplus(n int) {
	if !b.e.s.Stats().Tuning {
		b.limit = max(1, b.limit-n)
	}
}

func (b *books) fence(idle int, first bool) {
	if first {
		b.limit = max(1, len(b.e.conns)-idle)
	}
}

// hold checks the rules that hold after each event.
func (b *books) hold() {
	e := b.e
	var is [gone + 1]int
	for _, c := range e.conns {
		is[c.is]++
	}
	s := e.s.Stats()
	queued, held, total := b.alone.len+b.together.len, is[lent]+is[flying], len(e.conns)+b.dials
	b.must(s.Queued == queued, "Stats.Queued is the number of callers who wait")
	b.must(queued == 0 || is[idle] == 0 || held >= s.Room, "no caller waits while a connection is idle and may be lent")
	b.must(s.Room == s.Ceiling || s.Tuning, "without the tuner as many connections as there are may be lent")
	b.must(total <= e.cfg.Max, "connections and dials are no more than Max")
	b.must(is[idle] == 0 || b.usable() <= b.ceiling, "no connection above the ceiling is idle")
	b.must(s.Ceiling == b.ceiling, "the ceiling is what it was set to")
	b.must(s.Idle == is[idle] && s.Held == held && s.Dialing == b.dials && s.Total == total, "each connection is in one place")
	b.must(s.Limit == b.limit, "the limit follows from dials, surplus, fences and the tuner")
	b.must(s.Acquires == b.lent && s.Opened == b.opened && s.FailedDials == b.failed && s.Refused == b.refusedOf, "the counters agree with what happened")
	// If there is room and no dial, a timer must be set that decides again whether to dial.
	b.must(queued == 0 || total >= b.ceiling || b.dials > 0 || e.alarms > 0, "while a caller waits and there is room, a dial or a timer is under way")
}

// over checks the rules that hold after all callers have ended.
func (b *books) over() {
	b.must(b.alone.len+b.together.len == 0, "in the end all requests have an answer")
	for _, c := range b.e.conns {
		b.must(c.is == idle, "in the end all connections are idle")
	}
	b.must(b.dials == 0, "in the end no dial is under way")
	b.hold()
}

package member

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/fleet"
)

// Config is what a pool tells New.
type Config struct {
	ID     fleet.ID
	Budget int         // 0: the CONNECTION LIMIT of the role
	Move   func(n int) // sets how many connections the pool may have; it may be called with a lock held, and must not call the Member
	Log    *slog.Logger
}

// Member is one pool's part in its fleet. A nil *Member is a pool without a fleet budget. It is safe for concurrent use.
type Member struct {
	cfg   Config
	began time.Time
	dueAt atomic.Int64 // when the next poll is due, in Unix nanoseconds; 0 while none is to come

	mu      sync.Mutex
	share   *fleet.Share
	counted bool // there was a count since the pool had no connection
	asked   bool // there was a count, or a try, since New
	fresh   int  // how many new connections Owes was asked about while asked is false
	polling bool
	off     error // why the server cannot be polled; nil if it can
	missed  int   // polls without an answer since the last one with an answer
	most    int   // what Move was told last
	said    int   // the share in the last log line; 0 before the first
	saidAt  time.Time
	turns   turns
	used    int64 // how often connections had been lent at about the last poll
	ticked  int64 // how many polls there were at the last Tick
	stat    Stat
}

// Stat has the numbers of a Member.
type Stat struct {
	fleet.Numbers
	Polls, Missed int64 // polls that were answered, and that were not
}

// New returns a Member, and calls Move for the time before the first count.
func New(cfg Config) *Member {
	m := &Member{cfg: cfg, began: time.Now(), share: fleet.New(cfg.Budget, rand.Float64), turns: newTurns()}
	m.apply(m.at(m.began))
	return m
}

// at returns now as a time of m's own clock, which all times in m and its Share are of. It goes on by what the wall clock or the monotonic clock has gone
// on since New, whichever is more: the monotonic clock may stand still while Lambda has frozen the process, and the wall clock may be set back.
func (m *Member) at(now time.Time) time.Time {
	began := m.began.Round(0)
	return began.Add(max(now.Sub(m.began), now.Round(0).Sub(began)))
}

// beforeCount is how many connections a pool may have before it knows whether its role has a limit.
const beforeCount = 2

// apply tells the pool how many connections it may have. m.mu must be held, so that two calls of Move come in the right order.
func (m *Member) apply(now time.Time) {
	n := m.share.Most(now)
	switch {
	case m.turns.rests:
		n = 0
	case m.off != nil:
		n = fleet.Unbounded
	case m.cfg.Budget == 0 && n == 1 && m.stat.Polls == 0:
		n = beforeCount
	}
	if n != m.most {
		m.most = n
		m.cfg.Move(n)
	}
	if n > 0 && (n >= 2*m.said || 2*n <= m.said) {
		m.say(n, now)
	}
}

// say logs the share, at most once a minute. It is called when the share has doubled or halved since the last line. A pool that never had a share says
// nothing.
func (m *Member) say(n int, now time.Time) {
	if !m.counted || m.off != nil || n == fleet.Unbounded && m.said == 0 || now.Sub(m.saidAt) < time.Minute {
		return
	}
	m.said, m.saidAt = n, now
	m.cfg.Log.Info("lmipool: the pool's share of the fleet's budget has changed", "share", m.share.Numbers(now).Share, "why", m.share.Why(now))
}

// Due reports whether a poll is to be made on a connection that nobody uses just now.
func (m *Member) Due(now time.Time) bool {
	if m == nil {
		return false
	}
	at := m.dueAt.Load()
	return at != 0 && m.at(now).UnixNano() >= at
}

// Owes reports whether a poll has to be made on a new connection before anybody gets it. open is how many connections the pool has, with the new one. It
// does not count those that are new at the same moment, so m counts them itself: if nobody counted, both could be held for long, and nothing would come
// back to be counted on.
func (m *Member) Owes(open int) bool {
	if m == nil {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.at(time.Now())
	if !m.asked && m.dueAt.Load() == 0 {
		m.dueAt.Store(now.Add(m.share.NextPoll()).UnixNano())
	}
	switch {
	case m.off != nil || m.counted || m.polling:
		return false
	case m.asked || m.cfg.Budget > 0:
		return m.share.Most(now) != fleet.Unbounded
	}
	m.fresh++
	return max(open, m.fresh) >= beforeCount
}

// CountNow makes a count due if there was none yet: somebody needs to know the share before the pool has a second connection.
func (m *Member) CountNow() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.asked && m.off == nil {
		m.dueAt.Store(time.Now().UnixNano())
	}
}

// mostMissed is how many polls in a row may have no answer before that is logged.
const mostMissed = 3

// Poll counts the fleet on pc, on which nothing else runs, and moves the pool's share. If another poll runs it does nothing. It returns an error
// only if pc is closed afterwards: pgx may still write to pc then, in a goroutine of its own.
func (m *Member) Poll(ctx context.Context, pc *pgconn.PgConn) error {
	m.mu.Lock()
	if m.polling || m.off != nil {
		m.mu.Unlock()
		return nil
	}
	m.polling = true
	m.dueAt.Store(0)
	m.mu.Unlock()

	asked := m.at(time.Now())
	c, err := ask(ctx, pc, m.cfg.ID)

	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.at(time.Now())
	m.polling, m.asked = false, true
	switch {
	case err == nil:
		m.share.Counted(c, asked, now)
		m.counted, m.missed = true, 0
		m.stat.Polls++
		if n := m.share.Numbers(now); n.Budget > 0 && n.Budget-n.Others <= n.Environments {
			m.turns.beShort(now.Add(fleet.Lease(n.Environments)))
		}
	case errors.Is(err, errPooled) || refuses(err):
		m.end(err)
	default:
		m.share.Missed(now)
		m.stat.Missed++
		if m.missed++; m.missed == mostMissed && m.share.Most(now) != fleet.Unbounded {
			m.cfg.Log.Warn("lmipool: the fleet could not be counted lately; the pool's share falls until it can", "error", err, "share", m.share.Most(now))
		}
	}
	if m.off == nil {
		m.dueAt.Store(now.Add(m.share.NextPoll()).UnixNano())
	}
	m.apply(now)
	if pc.IsClosed() {
		return err
	}
	return nil
}

// end turns m off, because of why. From then on MaxConns alone bounds the pool.
func (m *Member) end(why error) {
	m.off = why
	m.dueAt.Store(0)
	if m.cfg.Budget > 0 {
		m.cfg.Log.Warn("lmipool: the fleet cannot be counted here, so FleetBudget is off", "error", why)
	} else {
		m.cfg.Log.Info("lmipool: the fleet cannot be counted here, so only MaxConns bounds the pool", "error", why)
	}
}

// Behind notes that a connection leads to a pooler, which has a budget of its own.
func (m *Member) Behind() {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.off == nil {
		m.end(errPooled)
		m.apply(m.at(time.Now()))
	}
}

// Refused notes that the server was full for a dial, while the pool had open connections or none.
func (m *Member) Refused(open int) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turns.wanted()
	if now := m.at(time.Now()); open > 0 {
		m.share.Refused(open, now)
		m.apply(now)
	}
}

// Tick is to be called once a second. open is how many connections the pool has, and used counts how often they were lent. Tick returns true if a poll
// should be made on an idle connection, since one is due and the pool was used after the last.
func (m *Member) Tick(open int, used int64, now time.Time) bool {
	if m == nil {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	due := m.Due(now)
	now = m.at(now)
	if open == 0 && m.counted && !m.isShort(now) { // a pool that takes turns has one connection again soon, and needs no count for that
		m.share.Left()
		m.counted = false
	}
	m.takesTurns(now)
	m.apply(now)
	if polls := m.stat.Polls + m.stat.Missed; polls != m.ticked {
		m.ticked, m.used = polls, used
	}
	return open > 0 && due && used != m.used
}

// Stat returns m's numbers.
func (m *Member) Stat() Stat {
	if m == nil {
		return Stat{}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.stat
	if m.counted && m.off == nil {
		s.Numbers = m.share.Numbers(m.at(time.Now()))
	}
	return s
}

// WhyOff returns why the fleet cannot be counted at all, and nil if it can, or if that is not known.
func (m *Member) WhyOff() error {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.off
}

package sim

import (
	"slices"
	"time"

	"github.com/lmipool/lmipool/internal/fleet"
)

// Fleet is a model of many environments that share a budget on one server. What an environment knows and decides is a [fleet.Share], which is the code
// that ships. Its connections are only counted. An environment that does not rest takes all that it may have.
type Fleet struct {
	*World
	Budget int // as configured in each environment; 0 is the role's limit
	Limit  int // the role's CONNECTION LIMIT, at which the server refuses; 0 is none
	Room   int // the backends for which the server has room, whatever the limits say; 0 is any number

	Dial   time.Duration // the most that a dial takes to the server, and from there back
	Hold   time.Duration // how long, on average, a connection's user keeps it after it is not wanted any more
	Life   time.Duration // how long, on average, a connection is used until another one takes its place; 0 is forever
	Linger time.Duration // how long, on average, the server keeps the backends of an environment that was killed
	Lost   float64       // the fraction of polls that get no answer
	Late   time.Duration // how long a poll takes, on average
	Still  bool          // the server answers no poll and no dial

	Members []*Member // those that run
	Others  int       // backends of the role that are not lmipool's
	Total   int       // backends of the role that are lmipool's
	Over    int       // the largest excess of Total and Others over the budget so far; below 0 if there was none
	Polls   int       // polls so far
	Refused int       // dials refused so far

	seen   []*Member // in the order in which they got their first backends; those that have none are taken out at a count
	server int       // counts failovers; backends of a server before are gone
}

// Member is one environment.
type Member struct {
	f     *Fleet
	Share *fleet.Share
	Open  int           // its connections
	Asks  time.Duration // since when it has wanted a connection and has had none; -1 if it has one or wants none
	Waits time.Duration // the longest such time so far

	dialing, closing, backends int
	since                      time.Duration // when the first of its backends began
	rests, gone                bool
	resting                    time.Duration // since when
	polling                    bool
	series                     int // polls of an earlier series are nobody's
	refused                    int // dials in a row
	pauses                     bool
}

const (
	pollTimeout = 2 * time.Second  // after it an environment takes a poll for lost
	idleTime    = 10 * time.Second // after it an environment closes connections that it does not use
)

// after is an event that calls a function.
type after func()

func (f after) happens(kind, uint32) { f() }

// In calls do after d.
func (f *Fleet) In(d time.Duration, do func()) { f.in(d, after(do), timer, 0) }

// On calls do after d, unless there was a failover meanwhile.
func (f *Fleet) on(d time.Duration, do func()) {
	server := f.server
	f.In(d, func() {
		if f.server == server {
			do()
		}
	})
}

// Start starts an environment.
func (f *Fleet) Start() {
	m := &Member{f: f, Share: fleet.New(f.Budget, f.Rand.Float64), Asks: f.now}
	f.Members = append(f.Members, m)
	m.watch()
}

// Stop ends an environment, which closes its connections. If kill is true, the server notices only later that they are gone.
func (f *Fleet) Stop(m *Member, kill bool) {
	f.Members = slices.DeleteFunc(f.Members, func(o *Member) bool { return o == m })
	m.gone = true
	m.nothing()
	for range m.Open {
		if kill {
			f.on(f.exponential(f.Linger), m.left)
		} else {
			f.on(f.exponential(f.Hold), m.left)
		}
	}
	m.Open = 0
}

// Rest makes m want no connection, or want some again. It keeps those that it has for idleTime, unless they are scarce.
func (m *Member) Rest(rest bool) {
	m.rests, m.resting = rest, m.f.now
	m.asks()
	m.turn()
}

// Fail is a failover: the new server has no backends.
func (f *Fleet) Fail() {
	f.server++
	for _, m := range f.seen {
		f.Total -= m.backends
		m.Open, m.closing, m.backends = 0, 0, 0
		m.nothing()
		m.asks()
	}
	f.seen = nil
	for _, m := range f.Members {
		m.dialing = 0
		m.turn()
	}
}

// Look compares the number of backends with the budget. It must be called when Others has changed.
func (f *Fleet) Look() {
	budget := f.Budget
	if budget == 0 {
		budget = f.Limit
	}
	f.Over = max(f.Over, f.Total+f.Others-budget)
}

// watch asks each second how many connections there may be, as the pool does.
func (m *Member) watch() {
	if !m.gone {
		m.turn()
		m.f.In(time.Second, m.watch)
	}
}

// turn dials or closes, as the share says.
func (m *Member) turn() {
	f, most := m.f, 0
	switch {
	case m.gone:
		return
	case m.rests && !m.Share.Scarce(f.Now()) && f.now-m.resting < idleTime:
		return
	case !m.rests:
		most = m.Share.Most(f.Now())
	}
	for m.Open+m.dialing < most && m.dialing < 2 && !m.pauses {
		m.dialing++
		f.on(f.random(f.Dial), m.arrives)
	}
	for m.Open > most {
		m.close()
	}
}

// close begins to close a connection, if there is one.
func (m *Member) close() {
	if m.Open > 0 {
		m.Open--
		m.closing++
		m.f.on(m.f.exponential(m.f.Hold), m.closed)
	}
}

// arrives is a dial at the server.
func (m *Member) arrives() {
	f := m.f
	all := f.Total + f.Others
	switch {
	case m.gone:
	case f.Still:
		f.on(time.Second, m.arrives)
	case f.Limit > 0 && all >= f.Limit || f.Room > 0 && all >= f.Room:
		f.Refused++
		m.dialing--
		m.Share.Refused(m.Open, f.Now())
		m.refused++
		m.pauses = true
		f.In(f.random(min(5*time.Second, 100*time.Millisecond<<min(m.refused, 6))), func() { m.pauses = false; m.turn() })
	default:
		if m.backends == 0 {
			m.since = f.now
			f.seen = append(f.seen, m)
		}
		m.backends++
		f.Total++
		f.Look()
		f.on(f.random(f.Dial), m.dialed)
	}
}

func (m *Member) dialed() {
	m.dialing--
	m.refused = 0
	if m.gone {
		m.left()
		return
	}
	m.Open++
	m.asks()
	if m.f.Life > 0 {
		m.f.on(m.f.exponential(m.f.Life), m.close)
	}
	if !m.polling {
		m.polling = true
		m.next(m.series)
	}
	m.turn()
}

func (m *Member) closed() {
	m.closing--
	m.left()
	m.asks()
	if m.backends+m.dialing == 0 {
		m.nothing()
	}
	m.turn()
}

// left is the end of a backend.
func (m *Member) left() {
	m.backends--
	m.f.Total--
	if m.backends == 0 {
		m.f.seen = slices.DeleteFunc(m.f.seen, func(o *Member) bool { return o == m })
	}
}

// nothing tells that there is no connection any more.
func (m *Member) nothing() {
	m.series++
	m.polling = false
	m.Share.Left()
}

// asks keeps the times of a member that wants a connection and has none.
func (m *Member) asks() {
	switch none := m.Open == 0 && !m.rests; {
	case none && m.Asks < 0:
		m.Asks = m.f.now
	case !none && m.Asks >= 0:
		m.Waits = max(m.Waits, m.f.now-m.Asks)
		m.Asks = -1
	}
}

// next waits for the next poll.
func (m *Member) next(series int) {
	m.f.In(m.Share.NextPoll(), func() {
		if m.series == series {
			m.poll(series)
		}
	})
}

func (m *Member) poll(series int) {
	f := m.f
	f.Polls++
	asked, takes := f.Now(), f.exponential(f.Late)
	ended := func(c *fleet.Count) func() {
		return func() {
			switch {
			case m.series != series:
				return
			case c == nil:
				m.Share.Missed(f.Now())
			default:
				m.Share.Counted(*c, asked, f.Now())
			}
			m.turn()
			m.next(series)
		}
	}
	if f.chance(f.Lost) || f.Still || takes > pollTimeout {
		f.In(pollTimeout, ended(nil))
		return
	}
	var c fleet.Count
	f.In(takes/2, func() { c = f.count(m) })
	f.In(takes, ended(&c))
}

// count is what the SQL sees at this moment.
func (f *Fleet) count(of *Member) fleet.Count {
	c := f.settled()
	c.Members, c.Mine, c.Age = int32(len(f.seen)), int32(of.backends), int32((f.now-of.since)/time.Second)
	lease := fleet.Lease(len(f.seen))
	for i := len(f.seen) - 1; i >= 0 && f.now-f.seen[i].since < lease; i-- {
		c.Young++
	}
	return c
}

// settled is the count that all members would have if they had run for long.
func (f *Fleet) settled() fleet.Count {
	c := fleet.Count{Members: int32(len(f.Members)), Mine: 1, Age: 1 << 20, Others: int32(f.Others), RoleLimit: -1}
	if f.Limit > 0 {
		c.RoleLimit = int32(f.Limit)
	}
	return c
}

// Fair returns what each environment may hold when it has counted those that run now, and none of them is a newcomer.
func (f *Fleet) Fair() int {
	s := fleet.New(f.Budget, f.Rand.Float64)
	s.Counted(f.settled(), f.Now(), f.Now())
	return s.Most(f.Now())
}

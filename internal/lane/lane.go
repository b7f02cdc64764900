package lane

import (
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/sched"
	"github.com/lmipool/lmipool/internal/session"
)

// MaxFlight is how many reads ride in one group at most. A read that was sent cannot be called back, and waits for those in front of it.
const MaxFlight = 32

// Config is what NewShared needs to know of the pool.
type Config struct {
	Sched     *sched.Scheduler
	Functions []string                      // the user's functions that he has declared harmless
	Gone      func(*sched.Request) error    // see [sched.Config]
	Lost      func()                        // is called when a connection was lost
	Protect   func(what string, run func()) // runs the user's code, and recovers if it panics
	Tracer    pgx.QueryTracer               // nil if there is none
	Flew      func(Flown)                   // hears of each group that was carried; nil if nobody wants to hear
	Closed    *pgx.Conn                     // a closed connection, which the tracer is shown
	Log       *slog.Logger
}

// Shared is the state that all lanes of a pool share.
type Shared struct {
	Config
	Catalog   *catalog.Store
	Baselines *facts.Baselines
	types     memrows.Pairs

	rides, flights, refusals atomic.Int64
}

// NewShared returns the Shared of a pool that has no connection yet.
func NewShared(c Config) *Shared {
	s := &Shared{Config: c}
	s.Baselines = facts.NewBaselines(facts.Config{Allowed: facts.Allowed(c.Functions), Rides: s.rides.Load, Lost: pgerr.IsLost})
	s.Catalog = catalog.NewStore(s.Baselines.Newest)
	return s
}

// Stat returns how many reads have ridden, in how many groups, and how many of the reads the guard has stopped.
func (s *Shared) Stat() (rides, flights, refusals int64) {
	return s.rides.Load(), s.flights.Load(), s.refusals.Load()
}

// Conn is what New needs to know of the lane's connection.
type Conn struct {
	PG       *pgx.Conn
	Facts    *facts.Facts
	Types    *memrows.Maps
	Baseline *session.Baseline
	Expired  func() bool // reports whether the connection must not be used any more
	Unnamed  bool        // says that there is a pooler, so that each segment prepares its statement again, without a name
}

// Flown is one group of rides that was carried, from sending to the last answer.
type Flown struct {
	Start  time.Time
	Reads  int
	Server net.Addr
	Lost   error // why the connection was lost; nil if it was not
}

// Lane is the part of a connection that only flights use. Whoever has the connection has its lane too; there is no lock.
type Lane struct {
	Conn
	of      *Shared
	guard   *session.Guard
	server  net.Addr
	guarded bool // the session guard is on

	prepared map[any]*prepared // the key is a *catalog.Statement, or a text of the pool's own
	order    []*prepared       // the same statements, the oldest first
	surplus  []string          // names to deallocate with the next group
}

// New makes the lane of a connection.
func New(s *Shared, c Conn) *Lane {
	return &Lane{Conn: c, of: s, guard: c.Baseline.Guard(), server: c.PG.PgConn().Conn().RemoteAddr()}
}

// Intact reports whether the guard's settings are as the lane has set them.
func (ln *Lane) Intact() bool { return ln.guard.Intact(ln.PG.PgConn(), ln.guarded) }

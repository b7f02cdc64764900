package lane

import (
	"log/slog"
	"sync/atomic"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/sched"
)

// MaxFlight is how many reads ride together at most: what is sent cannot be called back, and waits for what is in front of it.
const MaxFlight = 32

// Config is what the lanes of a pool are told once.
type Config struct {
	Sched     *sched.Scheduler
	Functions []string                      // of the user's, which are harmless
	Gone      func(*sched.Request) error    // as [sched.Config] has it
	Lost      func()                        // hears of a connection that was lost
	Protect   func(what string, run func()) // runs code of the user's, which may panic
	Tracer    pgx.QueryTracer               // nil: none
	Closed    *pgx.Conn                     // for the tracer
	Log       *slog.Logger
}

// Shared is what the lanes of a pool have in common.
type Shared struct {
	Config
	Catalog   *catalog.Store
	Baselines *facts.Baselines
	types     memrows.Pairs

	rides, flights, refusals atomic.Int64
}

// NewShared makes it for a pool that has no connection yet.
func NewShared(c Config) *Shared {
	s := &Shared{Config: c}
	s.Baselines = facts.NewBaselines(facts.Config{Allowed: facts.Allowed(c.Functions), Rides: s.rides.Load, Lost: pgerr.IsLost})
	s.Catalog = catalog.NewStore(s.Baselines.Newest)
	return s
}

// Stat returns how many have ridden, on how many flights, and how many of them the guard has stopped.
func (s *Shared) Stat() (rides, flights, refusals int64) {
	return s.rides.Load(), s.flights.Load(), s.refusals.Load()
}

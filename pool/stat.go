package pool

import (
	"encoding/json"
	"maps"
	"sync/atomic"
	"time"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/lane"
	"github.com/lmipool/lmipool/internal/sched"
)

// Stat is a snapshot of a pool. Method names that pgxpool.Stat has mean the same. As JSON it has all its numbers, by names in snake case, the times in
// seconds.
//
// # Fields to watch
//
//   - EmptyAcquireWaitTime, by EmptyAcquireCount: how long callers wait for a connection. If it grows while Limit is MaxConns, raise MaxConns, if
//     the database has room, or make transactions shorter.
//   - Queued: callers that wait now. If it stays above 0 while AcquiredConns is Limit, connections are held for long; AcquireError names the holder.
//   - Dials().Refused: the server had no room. Lower MaxConns or the number of environments, or raise max_connections.
//   - Invocations().Leaks: what invocations forgot to give back. The log has the stack that acquired it: mend the code.
//   - Invocations().Resets and Unclean: what invocations left in sessions. An Unclean costs a new connection: find the statement.
//   - Lanes().Rides, by Lanes().Alone: which reads share connections and why others do not. If "function" is large, see Config.LaneFunctions.
//   - Lanes().GuardRefusals: reads that ran twice. If it grows use [Alone] for the statements that are slow or wait for locks.
//   - Cancels().Lost: cancelled statements that cost a connection. If it grows raise Config.CancelWait.
//   - PanicCount: a hook, a tracer or lmipool itself is broken. The log has the stack.
type Stat struct {
	s           sched.Stats
	panics      int64
	aged        int64
	unused      int64
	lanes       LaneStat
	cancels     CancelStat
	invocations InvocationStat
	failovers   int64
}

// LaneStat is about reads that found no idle connection.
type LaneStat struct {
	// Rides is how many reads rode: were sent together with others of other callers, on one connection.
	Rides int64 `json:"rides"`
	// Flights is how often a connection was sent a pipeline of such reads.
	Flights int64 `json:"flights"`
	// MaxFlightSize is how many reads ride together at most.
	MaxFlightSize int `json:"max_flight_size"`
	// Alone is how many statements found no idle connection and had one to themselves all the same, by the reason: "text", "function", "new", "slow",
	// "large", "arguments", "asked", "guard", "settings" or "no company".
	Alone map[string]int64 `json:"alone"`
	// ShadowRides is how many would have ridden but for [Shadow].
	ShadowRides int64 `json:"shadow_rides"`
	// GuardRefusals is how many rides the guard stopped: they would have written, waited for a lock or taken too long. They ran again, alone.
	GuardRefusals int64 `json:"guard_refusals"`
	// Reruns is how many rides ended without an answer of their own and ran again, alone: stopped by the guard, too large, described anew, or their
	// connection lost.
	Reruns int64 `json:"reruns"`
	// CatalogChanges is how often it was noticed that the catalogs had changed in a way that concerns statements, so that what they may run had to be
	// found out anew.
	CatalogChanges int64 `json:"catalog_changes"`
	// UnconfirmedRides is how many reads rode between the last time that the catalogs were known to be unchanged and such a change's being noticed: what
	// they read from may have been changed, in the last second, to run code of the user's own.
	UnconfirmedRides int64 `json:"unconfirmed_rides"`
}

// MeanFlightSize is how many rode together on average; 0 before the first flight.
func (s LaneStat) MeanFlightSize() float64 {
	if s.Flights == 0 {
		return 0
	}
	return float64(s.Rides) / float64(s.Flights)
}

// CancelStat is about statements whose ctx ended while they ran.
type CancelStat struct {
	// Requests is how many cancel requests were sent, those for connections that are being closed included.
	Requests int64 `json:"requests"`
	// Lost is how many connections were given up because the server did not answer a cancelled statement within Config.CancelWait, or the cancel
	// request at all.
	Lost int64 `json:"lost"`
	// Conns is how many cancel connections are open now, beside TotalConns. Each lives for a few round trips.
	Conns int32 `json:"conns"`
	// MaxConns is how many there are at once at most, before Shutdown.
	MaxConns int32 `json:"max_conns"`
}

// InvocationStat is about what invocations leave behind.
type InvocationStat struct {
	// Leaks is how many leases were taken back from invocations that had ended.
	Leaks int64 `json:"leaks"`
	// Nested is how many waiters got [ErrNestedAcquire].
	Nested int64 `json:"nested"`
	// Detached is how many ctxs from Detach live, by the pool that opened the invocation's scope.
	Detached int64 `json:"detached"`
	// Resets is how many sessions were reset, because a user had left something in them or may have; see [Config.Isolation].
	Resets int64 `json:"resets"`
	// Unclean is how many connections were closed because no reset takes away what was left in their session, or because the reset failed.
	Unclean int64 `json:"unclean"`
}

// DialStat is about opening connections.
type DialStat struct {
	// Failed is how many dials failed.
	Failed int64 `json:"failed"`
	// Refused is how many of them the server refused because it, the role or the database had no more room; see [ErrServerFull]. If it grows, the fleet
	// wants more connections than there are.
	Refused int64 `json:"refused"`
	// Failovers is how often the server turned out to have become a standby, and all its connections were given up.
	Failovers int64 `json:"failovers"`
	// Time is the moving average of a dial, HoldTime that of how long a connection is out: the two measurements of the growth rule.
	Time     time.Duration `json:"-"`
	HoldTime time.Duration `json:"-"`
}

// MarshalJSON has the times in seconds.
func (s DialStat) MarshalJSON() ([]byte, error) {
	type numbers DialStat
	return json.Marshal(struct {
		numbers
		Time     float64 `json:"time_seconds"`
		HoldTime float64 `json:"hold_time_seconds"`
	}{numbers(s), s.Time.Seconds(), s.HoldTime.Seconds()})
}

// MarshalJSON has all numbers of s, the times in seconds.
func (s *Stat) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		AcquireCount            int64          `json:"acquire_count"`
		AcquireDuration         float64        `json:"acquire_duration_seconds"`
		AcquiredConns           int32          `json:"acquired_conns"`
		CanceledAcquireCount    int64          `json:"canceled_acquire_count"`
		ConstructingConns       int32          `json:"constructing_conns"`
		EmptyAcquireCount       int64          `json:"empty_acquire_count"`
		EmptyAcquireWaitTime    float64        `json:"empty_acquire_wait_time_seconds"`
		IdleConns               int32          `json:"idle_conns"`
		MaxConns                int32          `json:"max_conns"`
		TotalConns              int32          `json:"total_conns"`
		NewConnsCount           int64          `json:"new_conns_count"`
		MaxLifetimeDestroyCount int64          `json:"max_lifetime_destroy_count"`
		MaxIdleDestroyCount     int64          `json:"max_idle_destroy_count"`
		Limit                   int32          `json:"limit"`
		Queued                  int32          `json:"queued"`
		PanicCount              int64          `json:"panic_count"`
		Dials                   DialStat       `json:"dials"`
		Lanes                   LaneStat       `json:"lanes"`
		Cancels                 CancelStat     `json:"cancels"`
		Invocations             InvocationStat `json:"invocations"`
	}{
		s.AcquireCount(), s.AcquireDuration().Seconds(), s.AcquiredConns(), s.CanceledAcquireCount(), s.ConstructingConns(),
		s.EmptyAcquireCount(), s.EmptyAcquireWaitTime().Seconds(), s.IdleConns(), s.MaxConns(), s.TotalConns(), s.NewConnsCount(),
		s.MaxLifetimeDestroyCount(), s.MaxIdleDestroyCount(), s.Limit(), s.Queued(), s.PanicCount(), s.Dials(), s.Lanes(), s.Cancels(), s.Invocations(),
	})
}

// AcquireCount is how often a connection was handed out.
func (s *Stat) AcquireCount() int64 { return s.s.Acquires }

// AcquireDuration is the sum of the time that successful acquires waited. One
// that finds an idle connection does not wait, so it equals EmptyAcquireWaitTime.
func (s *Stat) AcquireDuration() time.Duration { return s.s.Waited }

// AcquiredConns is how many connections are out now.
func (s *Stat) AcquiredConns() int32 { return int32(s.s.Held) }

// CanceledAcquireCount is how many acquires were given up by their ctx or scope.
func (s *Stat) CanceledAcquireCount() int64 { return s.s.Canceled }

// ConstructingConns is how many dials are under way.
func (s *Stat) ConstructingConns() int32 { return int32(s.s.Dialing) }

// EmptyAcquireCount is how many acquires had to queue.
func (s *Stat) EmptyAcquireCount() int64 { return s.s.Waits }

// EmptyAcquireWaitTime is the sum of the time that they queued.
func (s *Stat) EmptyAcquireWaitTime() time.Duration { return s.s.Waited }

// IdleConns is how many connections are free.
func (s *Stat) IdleConns() int32 { return int32(s.s.Idle) }

// MaxConns is the ceiling.
func (s *Stat) MaxConns() int32 { return int32(s.s.Max) }

// TotalConns is how many connections the server may count as this pool's, dials under way and connections that are still being closed included.
func (s *Stat) TotalConns() int32 { return int32(s.s.Total) }

// NewConnsCount is how many connections were opened.
func (s *Stat) NewConnsCount() int64 { return s.s.Opened }

// MaxLifetimeDestroyCount is how many were closed for their age.
func (s *Stat) MaxLifetimeDestroyCount() int64 { return s.aged }

// MaxIdleDestroyCount is how many were closed for want of work.
func (s *Stat) MaxIdleDestroyCount() int64 { return s.unused }

// Limit is how many connections the pool may have now, at most MaxConns.
func (s *Stat) Limit() int32 { return int32(s.s.Limit) }

// Queued is how many acquires wait now.
func (s *Stat) Queued() int32 { return int32(s.s.Queued) }

// PanicCount is how many panics of hooks and of the pool's own goroutines were caught.
func (s *Stat) PanicCount() int64 { return s.panics }

// Dials is about opening connections.
func (s *Stat) Dials() DialStat {
	return DialStat{Failed: s.s.FailedDials, Refused: s.s.RefusedDials, Failovers: s.failovers, Time: s.s.DialTime, HoldTime: s.s.HoldTime}
}

// Lanes is about reads that found no idle connection.
func (s *Stat) Lanes() LaneStat {
	l := s.lanes
	l.MaxFlightSize, l.Alone = lane.MaxFlight, maps.Clone(l.Alone)
	return l
}

// Cancels is about statements whose ctx ended while they ran.
func (s *Stat) Cancels() CancelStat { return s.cancels }

// Invocations is about what invocations leave behind.
func (s *Stat) Invocations() InvocationStat {
	i := s.invocations
	i.Nested = s.s.Nested
	return i
}

// stats are totals since New of what is not the scheduler's to count.
type stats struct {
	aged, unused, unclean atomic.Int64 // connections that were closed for their age, for want of work, because their session could not be cleaned
	resets, leaks         atomic.Int64
	reruns, shadow        atomic.Int64    // reads that run again, alone; that would ride
	alone                 catalog.Reasons // of those that find no idle connection and do not ride
}

func (n *stats) endedByAge()   { n.aged.Add(1) }
func (n *stats) endedUnused()  { n.unused.Add(1) }
func (n *stats) endedUnclean() { n.unclean.Add(1) }
func (n *stats) sessionReset() { n.resets.Add(1) }
func (n *stats) leaseLeaked()  { n.leaks.Add(1) }
func (n *stats) runsAgain()    { n.reruns.Add(1) }
func (n *stats) wouldRide()    { n.shadow.Add(1) }

func (n *stats) goesAlone(why string) { n.alone.Count(why) }

func (n *stats) stat(s *Stat) {
	s.aged, s.unused, s.invocations.Unclean = n.aged.Load(), n.unused.Load(), n.unclean.Load()
	s.invocations.Resets, s.invocations.Leaks = n.resets.Load(), n.leaks.Load()
	s.lanes.Reruns, s.lanes.ShadowRides, s.lanes.Alone = n.reruns.Load(), n.shadow.Load(), n.alone.All()
}

package pool

import (
	"maps"
	"sync/atomic"
	"time"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/lane"
	"github.com/lmipool/lmipool/internal/sched"
)

// Stat is a snapshot of a pool. Method names that pgxpool.Stat has mean the same.
type Stat struct {
	s        sched.Stats
	detached int64

	aged, unused, unclean, resets, leaks, panics, failovers int64

	rides, flights, shadow, refusals, reruns int64
	unconfirmed, catalogChanges              int64
	alone                                    map[string]int64

	canceling, maxCanceling int
	cancels, cancelsLost    int64
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
	s.aged, s.unused, s.unclean = n.aged.Load(), n.unused.Load(), n.unclean.Load()
	s.resets, s.leaks = n.resets.Load(), n.leaks.Load()
	s.reruns, s.shadow, s.alone = n.reruns.Load(), n.shadow.Load(), n.alone.All()
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

// CancelRequestCount is how many cancel requests were sent, those for connections that are being closed included.
func (s *Stat) CancelRequestCount() int64 { return s.cancels }

// CancelLostCount is how many connections were given up because the server did not
// answer a cancelled statement within Config.CancelWait, or the cancel request at all.
func (s *Stat) CancelLostCount() int64 { return s.cancelsLost }

// CancelingConns is how many cancel connections are open now, beside TotalConns. Each lives for a few round trips.
func (s *Stat) CancelingConns() int32 { return int32(s.canceling) }

// MaxCancelingConns is how many there are at once at most, before Shutdown.
func (s *Stat) MaxCancelingConns() int32 { return int32(s.maxCanceling) }

// Limit is how many connections the pool may have now, at most MaxConns.
func (s *Stat) Limit() int32 { return int32(s.s.Limit) }

// Queued is how many acquires wait now.
func (s *Stat) Queued() int32 { return int32(s.s.Queued) }

// FailedDialCount is how many dials failed.
func (s *Stat) FailedDialCount() int64 { return s.s.FailedDials }

// RefusedDialCount is how many of them the server refused because it, the role or the database had no more room; see [ErrServerFull]. If it grows,
// the fleet wants more connections than there are.
func (s *Stat) RefusedDialCount() int64 { return s.s.RefusedDials }

// FailoverCount is how often the server turned out to have become a standby, and all its connections were given up.
func (s *Stat) FailoverCount() int64 { return s.failovers }

// LeakCount is how many leases were taken back from invocations that had ended.
func (s *Stat) LeakCount() int64 { return s.leaks }

// NestedCount is how many waiters got [ErrNestedAcquire].
func (s *Stat) NestedCount() int64 { return s.s.Nested }

// DetachedCount is how many ctxs from Detach live, by the pool that opened the invocation's scope.
func (s *Stat) DetachedCount() int64 { return s.detached }

// PanicCount is how many panics of hooks and of the pool's own goroutines were caught.
func (s *Stat) PanicCount() int64 { return s.panics }

// ResetCount is how many sessions were reset, because a user had left something in them or may have; see [Config.Isolation].
func (s *Stat) ResetCount() int64 { return s.resets }

// UncleanDestroyCount is how many connections were closed because no reset takes away what was left in their session, or because the reset failed.
func (s *Stat) UncleanDestroyCount() int64 { return s.unclean }

// DialTime is the moving average of a dial, HoldTime that of how long a connection is out: the two measurements of the growth rule.
func (s *Stat) DialTime() time.Duration { return s.s.DialTime }

// HoldTime is how long a connection is usually out; see DialTime.
func (s *Stat) HoldTime() time.Duration { return s.s.HoldTime }

// RideCount is how many reads rode: were sent together with others of other callers, on one connection.
func (s *Stat) RideCount() int64 { return s.rides }

// FlightCount is how often a connection was sent a pipeline of such reads.
func (s *Stat) FlightCount() int64 { return s.flights }

// MeanFlightSize is how many rode together on average; 0 before the first flight.
func (s *Stat) MeanFlightSize() float64 {
	if s.flights == 0 {
		return 0
	}
	return float64(s.rides) / float64(s.flights)
}

// AloneCount is how many statements found no idle connection and had one to themselves all the same, by the reason: "text", "function", "new",
// "slow", "large", "arguments", "asked", "guard", "settings" or "no company".
func (s *Stat) AloneCount() map[string]int64 { return maps.Clone(s.alone) }

// ShadowRideCount is how many would have ridden but for [Shadow].
func (s *Stat) ShadowRideCount() int64 { return s.shadow }

// GuardRefusalCount is how many rides the guard stopped: they would have written, waited for a lock or taken too long. They ran again, alone.
func (s *Stat) GuardRefusalCount() int64 { return s.refusals }

// RerunCount is how many rides ended without an answer of their own and ran again,
// alone: stopped by the guard, too large, described anew, or their connection lost.
func (s *Stat) RerunCount() int64 { return s.reruns }

// CatalogChangeCount is how often it was noticed that the catalogs had changed in a way that concerns statements, so that
// what they may run had to be found out anew.
func (s *Stat) CatalogChangeCount() int64 { return s.catalogChanges }

// UnconfirmedRideCount is how many reads rode between the last time that the catalogs were known to be unchanged and such a
// change's being noticed: what they read from may have been changed, in the last second, to run code of the user's own.
func (s *Stat) UnconfirmedRideCount() int64 { return s.unconfirmed }

// MaxFlightSize is how many reads ride together at most.
func (s *Stat) MaxFlightSize() int { return lane.MaxFlight }

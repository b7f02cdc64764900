package pool

import (
	"encoding/json"
	"maps"
	"sync/atomic"
	"time"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/safelog"
)

// Stat is a snapshot of a pool's counters, which are totals since New. Methods that pgxpool.Stat has too mean the same.
//
// # Fields to watch
//
//   - EmptyAcquireWaitTime divided by EmptyAcquireCount: how long a caller waits for a connection. If it grows while Limit is MaxConns, raise
//     MaxConns if the database has room, or make transactions shorter.
//   - Queued: callers that wait now. If it stays above 0 while AcquiredConns is Limit, connections are held for long; AcquireError names the holder.
//   - Dials().Refused: the server had no room. Set a CONNECTION LIMIT for the role or Config.FleetBudget, or raise max_connections.
//   - Fleet().Share: if it is 1 and Queued grows, the budget is small for so many environments: raise it, or lower their number.
//   - Invocations().Leaks: leases that invocations forgot to give back, and LateUses: goroutines that use the pool after their invocation. The log has the
//     place of each in the code: correct it.
//   - Invocations().Resets and Unclean: sessions in which invocations left something. Each Unclean costs a new connection: find the statement.
//   - Lanes().Rides and Lanes().Alone: how many reads share connections, and why other statements do not. If "function" is large, see
//     Config.LaneFunctions.
//   - Lanes().GuardRefusals: reads that ran twice. If it grows, use [Alone] for the statements that are slow or wait for locks.
//   - Cancels().Lost: connections that a cancelled statement cost. If it grows, raise Config.CancelWait.
//   - PanicCount: a hook, a tracer or lmipool itself is broken. The log has the stack.
//
// A read that rides counts in EmptyAcquireCount, EmptyAcquireWaitTime and AcquireDuration. It does not count in AcquireCount, which counts the
// connections that were handed out. The first use of a statement can cause a reset, too: watch how Invocations().Resets grows after the warm-up.
type Stat struct{ n numbers }

// numbers are what a Stat shows, by their names in JSON.
type numbers struct {
	AcquireCount            int64          `json:"acquire_count"`
	AcquireDuration         milliseconds   `json:"acquire_duration_ms"`
	AcquiredConns           int32          `json:"acquired_conns"`
	CanceledAcquireCount    int64          `json:"canceled_acquire_count"`
	ConstructingConns       int32          `json:"constructing_conns"`
	EmptyAcquireCount       int64          `json:"empty_acquire_count"`
	EmptyAcquireWaitTime    milliseconds   `json:"empty_acquire_wait_time_ms"`
	IdleConns               int32          `json:"idle_conns"`
	MaxConns                int32          `json:"max_conns"`
	TotalConns              int32          `json:"total_conns"`
	NewConnsCount           int64          `json:"new_conns_count"`
	MaxLifetimeDestroyCount int64          `json:"max_lifetime_destroy_count"`
	MaxIdleDestroyCount     int64          `json:"max_idle_destroy_count"`
	Limit                   int32          `json:"limit"`
	LimitReason             string         `json:"limit_reason"`
	Queued                  int32          `json:"queued"`
	RefusedCount            int64          `json:"refused_count"`
	Pressed                 bool           `json:"pressed"`
	ExpectedService         milliseconds   `json:"expected_service_ms"`
	PanicCount              int64          `json:"panic_count"`
	Dials                   DialStat       `json:"dials"`
	Fleet                   FleetStat      `json:"fleet"`
	Lanes                   LaneStat       `json:"lanes"`
	Cancels                 CancelStat     `json:"cancels"`
	Invocations             InvocationStat `json:"invocations"`
}

// MarshalJSON returns all numbers of s as JSON, with times in milliseconds.
func (s Stat) MarshalJSON() ([]byte, error) { return json.Marshal(s.n) }

type milliseconds time.Duration

func (m milliseconds) MarshalJSON() ([]byte, error) {
	return json.Marshal(safelog.Milliseconds(time.Duration(m)))
}

// LaneStat has the counters of reads that found no idle connection.
type LaneStat struct {
	// Rides is how many reads rode: they were sent together with reads of other callers, on one connection.
	Rides int64 `json:"rides"`
	// Flights is how many pipelines of such reads were sent.
	Flights int64 `json:"flights"`
	// MaxFlightSize is how many reads one pipeline has at most.
	MaxFlightSize int `json:"max_flight_size"`
	// Alone is how many statements found no idle connection, waited for one, and did not ride, by the reason: "text", "function", "new", "slow",
	// "large", "arguments", "asked", "guard", "settings" or "no company".
	Alone map[string]int64 `json:"alone"`
	// ShadowRides is how many reads would have ridden if Config.Lanes were not [Shadow].
	ShadowRides int64 `json:"shadow_rides"`
	// GuardRefusals is how many rides the guard stopped, since they tried to write, waited for a lock or ran for too long. They ran again, alone.
	GuardRefusals int64 `json:"guard_refusals"`
	// Reruns is how many rides ran again, alone: the guard stopped them, the result was too large, its columns had changed, or the connection was lost.
	Reruns int64 `json:"reruns"`
	// CatalogChanges is how often the catalogs had changed in a way that concerns statements. Then the pool asks again which statements may ride.
	CatalogChanges int64 `json:"catalog_changes"`
	// UnconfirmedRides is how many reads rode after the last check that found the catalogs unchanged, and before the check that found such a change.
	// In that time, about a second, a table or view that the reads used may have been changed so that it calls a user's own function.
	UnconfirmedRides int64 `json:"unconfirmed_rides"`
}

// MeanFlightSize returns Rides divided by Flights, or 0 before the first flight.
func (s LaneStat) MeanFlightSize() float64 {
	if s.Flights == 0 {
		return 0
	}
	return float64(s.Rides) / float64(s.Flights)
}

// CancelStat has the counters of statements whose ctx ended while they ran.
type CancelStat struct {
	// Requests is how many cancel requests were sent, including those for connections that are being closed.
	Requests int64 `json:"requests"`
	// Lost is how many connections were given up because a cancelled statement, or the cancel request, had no answer within Config.CancelWait.
	Lost int64 `json:"lost"`
	// Conns is how many connections for cancel requests are open now, in addition to TotalConns. Each lasts a few round trips.
	Conns int32 `json:"conns"`
	// MaxConns is the most that Conns can be before Shutdown.
	MaxConns int32 `json:"max_conns"`
}

// InvocationStat has the counters of what invocations leave behind.
type InvocationStat struct {
	// Leaks is how many leases the pool took back because their invocation had ended.
	Leaks int64 `json:"leaks"`
	// LateUses is how often a goroutine used the pool, or what it had got from the pool, after its invocation had ended, and got [ErrInvocationEnded].
	LateUses int64 `json:"late_uses"`
	// Nested is how many callers got [ErrNestedAcquire].
	Nested int64 `json:"nested"`
	// Detached is how many ctxs from Detach have not ended yet. They count for the pool that opened the scope of their invocation.
	Detached int64 `json:"detached"`
	// Resets is how many sessions were reset, because a user had left something in them or may have; see [Config.Isolation].
	Resets int64 `json:"resets"`
	// Unclean is how many connections were closed because no reset could take away what was left in their session, or because the reset failed.
	Unclean int64 `json:"unclean"`
}

// DialStat has the counters of opening connections.
type DialStat struct {
	// Failed is how many dials failed.
	Failed int64 `json:"failed"`
	// Refused is how many of the failed dials the server refused because it, the role or the database may have no more connections; see
	// [ErrServerFull]. If it grows, all environments together want more connections than the server allows.
	Refused int64 `json:"refused"`
	// Failovers is how often the pool noticed that its server had become a standby, and gave up all connections to it.
	Failovers int64 `json:"failovers"`
	// Time is the moving average of how long a dial takes, HoldTime of how long a caller keeps a connection. From both the pool decides whether to dial.
	Time     time.Duration `json:"-"`
	HoldTime time.Duration `json:"-"`
}

// FleetStat has what the pool knows of its fleet, the environments with the same role; see [Config.FleetBudget]. It is 0 before the first count.
type FleetStat struct {
	// Budget is how many connections all environments may have together.
	Budget int32 `json:"budget"`
	// Share is how many of them this pool may have. It also has at most MaxConns.
	Share int32 `json:"share"`
	// Environments is how many pools with a connection there were at the last count, with this one.
	Environments int32 `json:"environments"`
	// Others is the most connections of the role, not lmipool's, that were seen in the last minutes. They are subtracted from Budget.
	Others int32 `json:"others"`
	// Polls is how often the pool has counted the fleet, Missed how often it tried and got no answer.
	Polls  int64 `json:"polls"`
	Missed int64 `json:"missed"`
}

// MarshalJSON returns the numbers of s as JSON, with times in milliseconds.
func (s DialStat) MarshalJSON() ([]byte, error) {
	type numbers DialStat
	return json.Marshal(struct {
		numbers
		Time     milliseconds `json:"time_ms"`
		HoldTime milliseconds `json:"hold_time_ms"`
	}{numbers(s), milliseconds(s.Time), milliseconds(s.HoldTime)})
}

// AcquireCount returns how many acquires got a connection.
func (s *Stat) AcquireCount() int64 { return s.n.AcquireCount }

// AcquireDuration equals EmptyAcquireWaitTime, since an acquire that finds an idle connection does not wait.
func (s *Stat) AcquireDuration() time.Duration { return time.Duration(s.n.AcquireDuration) }

// AcquiredConns returns how many connections are in use now.
func (s *Stat) AcquiredConns() int32 { return s.n.AcquiredConns }

// CanceledAcquireCount returns how many acquires failed because their ctx or scope ended while they waited.
func (s *Stat) CanceledAcquireCount() int64 { return s.n.CanceledAcquireCount }

// ConstructingConns returns how many dials are under way now.
func (s *Stat) ConstructingConns() int32 { return s.n.ConstructingConns }

// EmptyAcquireCount returns how many acquires found no idle connection and had to wait.
func (s *Stat) EmptyAcquireCount() int64 { return s.n.EmptyAcquireCount }

// EmptyAcquireWaitTime returns the sum of the waits of all acquires that had to wait and then succeeded.
func (s *Stat) EmptyAcquireWaitTime() time.Duration { return time.Duration(s.n.EmptyAcquireWaitTime) }

// IdleConns returns how many connections are idle now.
func (s *Stat) IdleConns() int32 { return s.n.IdleConns }

// MaxConns returns Config.MaxConns.
func (s *Stat) MaxConns() int32 { return s.n.MaxConns }

// TotalConns returns how many connections of this pool the server may have now. It includes those that are being dialed or closed.
func (s *Stat) TotalConns() int32 { return s.n.TotalConns }

// NewConnsCount returns how many connections were opened.
func (s *Stat) NewConnsCount() int64 { return s.n.NewConnsCount }

// MaxLifetimeDestroyCount returns how many connections were closed because of Config.MaxConnLifetime.
func (s *Stat) MaxLifetimeDestroyCount() int64 { return s.n.MaxLifetimeDestroyCount }

// MaxIdleDestroyCount returns how many connections were closed because of Config.MaxConnIdleTime.
func (s *Stat) MaxIdleDestroyCount() int64 { return s.n.MaxIdleDestroyCount }

// Limit returns how many connections the pool opens without first weighing whether one more is worth a dial. Limit starts at 1, grows with each dial, up
// to MaxConns, and falls when connections that were idle for long are closed. While callers wait all the time, or nearly all connections are in use all the
// time, it is the number of connections that are enough: fewer would answer fewer callers, and more would not answer more.
func (s *Stat) Limit() int32 { return s.n.Limit }

// LimitReason returns why Limit last moved: "demand" (a dial was worth it), "idle" (idle connections were closed), "fence" (the server is no writer any
// more), "full" or "away" (what a dial found), "ceiling" (the fleet's share sank), "fewer" or "more" (under load fewer connections answered as many
// callers, or more connections answered more). It returns "" if Limit has never moved.
func (s *Stat) LimitReason() string { return s.n.LimitReason }

// Queued returns how many acquires wait now.
func (s *Stat) Queued() int32 { return s.n.Queued }

// RefusedCount returns how many acquires were refused with [ErrNoTime]. If it grows, the connections cannot do in time all that callers ask for.
func (s *Stat) RefusedCount() int64 { return s.n.RefusedCount }

// Pressed reports whether waiting callers are in danger of being too late. Then the newest caller may be served first, and others be refused at once.
func (s *Stat) Pressed() bool { return s.n.Pressed }

// ExpectedService returns the moving average of how long a caller, or a group of reads that ride, keeps a connection until its answer is there.
func (s *Stat) ExpectedService() time.Duration { return time.Duration(s.n.ExpectedService) }

// PanicCount returns how many panics of hooks, and of the pool's own goroutines, were caught.
func (s *Stat) PanicCount() int64 { return s.n.PanicCount }

// Dials returns the counters of opening connections.
func (s *Stat) Dials() DialStat { return s.n.Dials }

// Fleet returns what the pool knows of its fleet, and its share of the budget.
func (s *Stat) Fleet() FleetStat { return s.n.Fleet }

// Lanes returns the counters of reads that found no idle connection.
func (s *Stat) Lanes() LaneStat {
	l := s.n.Lanes
	l.Alone = maps.Clone(l.Alone)
	return l
}

// Cancels returns the counters of statements whose ctx ended while they ran.
func (s *Stat) Cancels() CancelStat { return s.n.Cancels }

// Invocations returns the counters of what invocations leave behind.
func (s *Stat) Invocations() InvocationStat { return s.n.Invocations }

// stats has the totals since New that the scheduler does not count.
type stats struct {
	aged, unused, unclean atomic.Int64 // connections that were closed because of their age, their idle time, or a session that no reset cleans
	resets, leaks, late   atomic.Int64
	reruns, shadow        atomic.Int64 // reads that ran again, alone; reads that would have ridden
	refusals              refusals
	alone                 catalog.Reasons // why statements that found no idle connection did not ride
}

// refusals counts callers who were refused, so that the log has one line for many.
type refusals struct {
	unsaid atomic.Int64 // refusals since the last line
	saidAt atomic.Int64 // the last line's time, in Unix nanoseconds
}

// Package snapshot takes pictures of a process for its status page: the pool's numbers, who holds a connection, what was slow, and what happened lately.
// A process whose LMIPOOL_STATUS_SOCKET is set serves them on a Unix socket; package status shows them.
package snapshot

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lmipool/lmipool/internal/safelog"
	"github.com/lmipool/lmipool/internal/sqltext"
	"github.com/lmipool/lmipool/lambdaenv"
	"github.com/lmipool/lmipool/observe"
	"github.com/lmipool/lmipool/pool"
)

const (
	mostSlow   = 12               // how many statements are shown
	leastSlow  = time.Millisecond // no faster statement is among them, so it costs nothing to look at
	slowFor    = time.Minute      // for how long
	mostEvents = 40
	mostText   = 300 // bytes of a statement or an error
)

// Snapshot is what a page shows of one pool at one moment. It has no argument of a statement, and literals in statements are replaced by ?.
type Snapshot struct {
	About
	At         time.Time  `json:"at"`
	Pool       *pool.Stat `json:"pool"`
	Handler    any        `json:"handler,omitempty"` // lmipool.HandlerStat
	Statements int64      `json:"statements"`
	Holders    []Holding  `json:"holders"`
	Slowest    []Slow     `json:"slowest"`
	Events     []Event    `json:"events"` // newest first
}

// About says which pool a snapshot shows.
type About struct {
	ID             string `json:"id"` // its application_name, which no other pool has
	Kind           string `json:"kind"`
	MaxConcurrency int    `json:"max_concurrency"`
	Upstream       string `json:"upstream"`
}

// NewAbout returns the About of db, which runs in env.
func NewAbout(db *pool.Pool, env lambdaenv.Env) About {
	return About{ID: db.Config().ApplicationName, Kind: env.Kind.String(), MaxConcurrency: env.MaxConcurrency, Upstream: string(db.Upstream())}
}

// Holding is a user who has a connection.
type Holding struct {
	Scope string   `json:"scope"`
	Held  float64  `json:"held_ms"`
	Doing string   `json:"doing"`
	Stack []string `json:"stack"`
}

// Slow is a text whose slowest run of the last minute is one of the slowest of all.
type Slow struct {
	Text   string    `json:"text"`
	How    string    `json:"how"` // "rode", or why not
	Ran    float64   `json:"ran_ms"`
	Waited float64   `json:"waited_ms"`
	At     time.Time `json:"at"`
	sql    string    // as its caller wrote it
}

// Event is something that is worth a line.
type Event struct {
	At   time.Time `json:"at"`
	What string    `json:"what"`
	Text string    `json:"text"`
}

// Recorder is an observer that remembers what snapshots show beside the pool's own numbers. It is safe for concurrent use.
type Recorder struct {
	statements atomic.Int64
	least      atomic.Int64 // a statement that ran for less is not among the slowest; in nanoseconds; at least leastSlow

	mu        sync.Mutex
	slow      []Slow // slowest first
	events    []Event
	limitFrom int // the limit before the last event, if that is a move of the limit
}

// Format writes what r is. What is in it changes meanwhile, and may be printed with a Config that has r among its Observers.
func (*Recorder) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "lmipool.StatusRecorder") }

// Take returns what r knows now, with the numbers and holders of db, and handler's numbers.
func (r *Recorder) Take(db *pool.Pool, about About, handler any) Snapshot {
	now := time.Now()
	s := Snapshot{About: about, At: now, Pool: db.Stat(), Handler: handler, Statements: r.statements.Load(), Holders: []Holding{}}
	for _, h := range db.Holders() {
		s.Holders = append(s.Holders, Holding{h.Scope, safelog.Milliseconds(h.Held), h.Doing, h.Stack})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(now)
	s.Slowest = slices.Clone(r.slow)
	s.Events = slices.Clone(r.events)
	slices.Reverse(s.Events)
	return s
}

// ObserveStatement remembers a statement that is among the slowest.
func (r *Recorder) ObserveStatement(_ context.Context, e observe.Statement) {
	r.statements.Add(1)
	ran := e.End.Sub(e.Start)
	if int64(ran) < max(r.least.Load(), int64(leastSlow)) || e.SQL == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(e.End)
	if i := slices.IndexFunc(r.slow, func(s Slow) bool { return s.sql == e.SQL }); i >= 0 && r.slow[i].Ran >= safelog.Milliseconds(ran) {
		return // most are, and Text takes microseconds
	}
	slow := Slow{Text: sqltext.Cut(e.Text(), mostText), How: e.Alone, Ran: safelog.Milliseconds(ran), Waited: safelog.Milliseconds(e.Waited), At: e.End, sql: e.SQL}
	if e.Rode {
		slow.How = "rode"
	}
	if i := slices.IndexFunc(r.slow, func(s Slow) bool { return s.Text == slow.Text }); i >= 0 {
		if r.slow[i].Ran >= slow.Ran {
			return
		}
		r.slow = slices.Delete(r.slow, i, i+1)
	}
	i, _ := slices.BinarySearchFunc(r.slow, slow, func(a, b Slow) int { return cmp.Compare(b.Ran, a.Ran) })
	r.slow = slices.Insert(r.slow, i, slow)
	r.slow = r.slow[:min(len(r.slow), mostSlow)]
	r.bound()
}

// forget drops what is older than slowFor.
func (r *Recorder) forget(now time.Time) {
	r.slow = slices.DeleteFunc(r.slow, func(s Slow) bool { return now.Sub(s.At) > slowFor })
	r.bound()
}

func (r *Recorder) bound() {
	least := leastSlow
	if len(r.slow) == mostSlow {
		least = time.Duration(r.slow[mostSlow-1].Ran * float64(time.Millisecond))
	}
	r.least.Store(int64(least))
}

func (r *Recorder) add(at time.Time, what, format string, args ...any) {
	e := Event{at, what, sqltext.Cut(fmt.Sprintf(format, args...), mostText)}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.events) == mostEvents {
		r.events = slices.Delete(r.events, 0, 1)
	}
	r.events = append(r.events, e)
}

// ObserveLimit and the methods below remember an event.
func (r *Recorder) ObserveLimit(_ context.Context, e observe.Limit) {
	from := e.From
	r.mu.Lock()
	if last := len(r.events) - 1; last >= 0 && r.events[last].What == "limit" && e.At.Sub(r.events[last].At) < time.Second {
		from, r.events = r.limitFrom, r.events[:last] // a burst makes many steps, of which one line tells
	}
	r.limitFrom = from
	r.mu.Unlock()
	r.add(e.At, "limit", "%d connections instead of %d: %s", e.To, from, e.Why)
}

func (r *Recorder) ObserveLeak(_ context.Context, e observe.Leak) {
	r.add(e.At, "leak", "a %s was held for %s after its invocation %s ended; acquired at %s", e.For, e.Held.Round(time.Millisecond), e.RequestID, first(e.Place))
}

func (r *Recorder) ObserveOverrun(_ context.Context, e observe.Overrun) {
	r.add(e.At, "overrun", "the handler of %s had not returned after %s", e.RequestID, e.At.Sub(e.Start).Round(time.Millisecond))
}

func (r *Recorder) ObservePanic(_ context.Context, e observe.Panic) {
	r.add(e.At, "panic", "%s panicked at %s", e.In, first(e.Place))
}

func (r *Recorder) ObserveFence(_ context.Context, e observe.Fence) {
	r.add(e.At, "fence", "%v is no writer any more (%s)", e.Server, e.Why)
}

func (r *Recorder) ObserveStandDown(_ context.Context, e observe.StandDown) {
	r.add(e.At, "stand-down", "the process is to end: %d %s", e.Number, e.Why)
}

func (r *Recorder) ObserveDial(_ context.Context, e observe.Dial) {
	if e.Err != nil {
		r.add(e.End, "dial failed", "%v", e.Err)
	}
}

func (r *Recorder) ObserveCancel(_ context.Context, e observe.Cancel) {
	if e.Lost {
		r.add(e.End, "connection lost", "a cancelled statement did not end in %s", e.End.Sub(e.Start).Round(time.Millisecond))
	}
}

func (r *Recorder) ObserveRefused(_ context.Context, e observe.Refusal) {
	r.mu.Lock()
	last := len(r.events) - 1
	same := last >= 0 && r.events[last].What == "refused" && e.At.Sub(r.events[last].At) < time.Second
	r.mu.Unlock()
	if !same { // at most one line a second: under overload there are thousands
		r.add(e.At, "refused", "%s: %d waited for about %s, and %s was left", e.Reason, e.Waiting, e.Wait.Round(time.Millisecond), e.Left.Round(time.Millisecond))
	}
}

func first(place []string) string {
	if len(place) == 0 {
		return "an unknown place"
	}
	return place[0]
}

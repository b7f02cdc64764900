package pool_test

import (
	"bufio"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	osexec "os/exec"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/pool"
)

// A fleet that fits its budget. Each environment is a process, this binary again. Some are killed midway, and new ones come. LMIPOOL_TEST_FLEET is for
// how long each fleet runs: "60s" makes it the acceptance test, with the whole load and with times.

// The variables that make this binary a member of such a fleet, beside fleetDSN and fleetFor.
const (
	fleetBudget = "FLEET_BUDGET"
	fleetThink  = "FLEET_THINK"
)

// memberReport is what a member prints as a line of JSON each quarter of a second. A killed one has printed its last line before.
type memberReport struct {
	Invocations, Failed int64
	Error               string        // of the first that failed
	Longest             time.Duration // the longest invocation, from its start or from the first connection, if that came later
	Opened, Refused     int64
	Conns               int32
	Fleet               pool.FleetStat
}

// runMember is the main of a child.
func runMember() {
	lasts, err := time.ParseDuration(os.Getenv(fleetFor))
	if err != nil {
		panic(err)
	}
	think, err := time.ParseDuration(os.Getenv(fleetThink))
	if err != nil {
		panic(err)
	}
	budget, err := strconv.Atoi(os.Getenv(fleetBudget))
	if err != nil {
		panic(err)
	}
	p, err := pool.New(context.Background(), os.Getenv(fleetDSN), &pool.Config{
		MaxConns: 16, FleetBudget: int32(budget), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		panic(err)
	}
	var r memberReport
	var mu sync.Mutex
	var first atomic.Int64 // when there was a connection
	var wg sync.WaitGroup
	began := time.Now()
	for i := range atOnce {
		wg.Go(func() {
			time.Sleep(think * time.Duration(i) / atOnce) // not all think at the same time
			for time.Since(began) < lasts {
				start := time.Now()
				ctx, scope := p.OpenScope(context.Background(), "", start.Add(2*deadline))
				var n int
				err := p.QueryRow(ctx, "select 1 from pg_sleep(0.005)").Scan(&n)
				scope.End()
				now := time.Now()
				first.CompareAndSwap(0, now.UnixNano())
				if at := time.Unix(0, first.Load()); start.Before(at) {
					start = at
				}
				mu.Lock()
				r.Invocations++
				r.Longest = max(r.Longest, now.Sub(start))
				if err != nil {
					if r.Failed++; r.Error == "" {
						r.Error = err.Error()
					}
				}
				mu.Unlock()
				time.Sleep(think)
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for running := true; running; {
		select {
		case <-time.After(250 * time.Millisecond):
		case <-done:
			running = false
		}
		s := p.Stat()
		mu.Lock()
		r.Opened, r.Refused, r.Conns, r.Fleet = s.NewConnsCount(), s.Dials().Refused, s.TotalConns(), s.Fleet()
		err := json.NewEncoder(os.Stdout).Encode(&r)
		mu.Unlock()
		if err != nil {
			os.Exit(1)
		}
	}
	p.Close()
}

// testMember is a running member.
type testMember struct {
	cmd    *osexec.Cmd
	mu     sync.Mutex
	last   memberReport
	killed bool
	done   chan error
}

func startMember(ctx context.Context, t *testing.T, dsn string, budget int, think, lasts time.Duration) *testMember {
	t.Helper()
	m := &testMember{cmd: osexec.CommandContext(ctx, os.Args[0]), done: make(chan error, 1)}
	m.cmd.Env = append(os.Environ(), fleetDSN+"="+dsn, fleetFor+"="+lasts.String(), fleetThink+"="+think.String(), fleetBudget+"="+strconv.Itoa(budget))
	m.cmd.Stderr = os.Stderr
	out, err := m.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, m.cmd.Start())
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var r memberReport
			if json.Unmarshal(lines.Bytes(), &r) == nil {
				m.mu.Lock()
				m.last = r
				m.mu.Unlock()
			}
		}
		m.done <- m.cmd.Wait()
	}()
	return m
}

func (m *testMember) report() memberReport {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last
}

// sampled is what a superuser has seen each 10 ms.
type sampled struct{ samples, ours, all, above int }

// sampleRole counts the backends of dsn's role until ctx ends.
func sampleRole(ctx context.Context, t *testing.T, super, role string, most int) (result func() sampled) {
	t.Helper()
	c, err := pgx.Connect(context.Background(), super)
	require.NoError(t, err)
	done := make(chan sampled, 1)
	go func() {
		defer c.Close(context.Background())
		var s sampled
		for tick := time.NewTicker(10 * time.Millisecond); ctx.Err() == nil; <-tick.C {
			var ours, all int
			err := c.QueryRow(context.Background(), `select count(*) filter (where application_name like 'lmipool/%'), count(*)
				from pg_stat_activity where usename = $1 and backend_type = 'client backend'`, role).Scan(&ours, &all)
			if err != nil {
				t.Error(err)
				break
			}
			s.samples++
			s.ours, s.all = max(s.ours, ours), max(s.all, all)
			if ours > most {
				s.above++
			}
		}
		done <- s
	}()
	return func() sampled { return <-done }
}

// fleetRun says what a fleet does.
type fleetRun struct {
	members, limit int // how many environments; the CONNECTION LIMIT, -1 for none
	budget         int // FleetBudget
	others         int // the connections that a second client takes and frees at random
}

// run runs the fleet, and returns the last reports of those that were not killed.
func (f fleetRun) run(t *testing.T) []memberReport {
	t.Helper()
	long := os.Getenv("LMIPOOL_TEST_FLEET") != ""
	lasts, think := envDuration(t, "LMIPOOL_TEST_FLEET", 5*time.Second), time.Second
	if long {
		think = 100 * time.Millisecond
	}
	dsn, i := limitedRole(t, f.limit)
	config, err := pgx.ParseConfig(dsn)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), lasts+time.Minute)
	defer cancel()
	watched, stop := context.WithCancel(ctx)
	result := sampleRole(watched, t, i.c.Config().ConnString(), config.User, max(f.limit, f.budget))
	changed := func() int { return 0 }
	if f.others > 0 {
		changed = other(watched, t, dsn, f.others)
	}
	began := time.Now()
	var all []*testMember
	var running atomic.Pointer[[]*testMember]
	start := func(n int) {
		for range n {
			all = append(all, startMember(ctx, t, dsn, f.budget, think, lasts-time.Since(began)))
		}
		now := slices.Clone(all)
		running.Store(&now)
	}
	start(f.members)
	polls := countPolls(watched, running.Load)
	time.Sleep(lasts / 2)
	for _, m := range all[:f.members/3] {
		m.killed = true
		require.NoError(t, m.cmd.Process.Kill())
	}
	start(f.members / 3)
	var reports []memberReport
	var sum memberReport
	for n, m := range all {
		err := <-m.done
		r := m.report()
		assert.Zero(t, r.Failed, "environment %d: %s", n, r.Error)
		sum.Invocations += r.Invocations
		sum.Failed += r.Failed
		sum.Opened += r.Opened
		sum.Refused += r.Refused
		sum.Fleet.Polls += r.Fleet.Polls
		sum.Fleet.Missed += r.Fleet.Missed
		sum.Longest = max(sum.Longest, r.Longest)
		if !m.killed {
			assert.NoError(t, err, "environment %d", n)
			assert.NotZero(t, r.Invocations, "environment %d", n)
			reports = append(reports, r)
		}
	}
	stop()
	saw, changes := result(), changed()
	low, high := reports[0].Fleet.Share, reports[0].Fleet.Share
	for _, r := range reports {
		low, high = min(low, r.Fleet.Share), max(high, r.Fleet.Share)
	}
	assert.Zero(t, saw.above, "samples with more backends than the budget")
	t.Logf("%d environments for %s, limit %d, budget %d, beside a client with 0 to %d (%d changes): %d invocations, %d failed, the longest took %s; "+
		"%d samples, at most %d backends of ours and %d in all; shares %d to %d; %d connections opened, %d dials refused; %d polls, %d missed, at most %d in 5 s",
		f.members, lasts, f.limit, f.budget, f.others, changes, sum.Invocations, sum.Failed, sum.Longest.Round(time.Millisecond),
		saw.samples, saw.ours, saw.all, low, high, sum.Opened, sum.Refused, sum.Fleet.Polls, sum.Fleet.Missed, polls())
	if long && f.members < max(f.limit, f.budget) {
		assert.LessOrEqual(t, sum.Longest, time.Second)
		assert.LessOrEqual(t, float64(high), 1.5*float64(low), "shares")
		assert.LessOrEqual(t, polls(), f.members, "polls in 5 s")
	}
	return reports
}

// countPolls looks at the members' reports each half second until ctx ends. The result is the largest number of polls in 5 seconds, without the first of
// each member.
func countPolls(ctx context.Context, members func() *[]*testMember) (most func() int) {
	const every, window = 500 * time.Millisecond, 10
	var peak atomic.Int64
	go func() {
		var sums []int64
		for ctx.Err() == nil {
			time.Sleep(every)
			sum := int64(0)
			for _, m := range *members() {
				r := m.report()
				sum += max(0, r.Fleet.Polls+r.Fleet.Missed-1)
			}
			sums = append(sums, sum)
			if n := len(sums); n > window {
				peak.Store(max(peak.Load(), sums[n-1]-sums[n-1-window]))
			}
		}
	}()
	return func() int { return int(peak.Load()) }
}

func TestAFleetKeepsToTheRolesLimit(t *testing.T) {
	fleetRun{members: environments, limit: 40, others: 10}.run(t)
}

func TestAFleetKeepsToItsBudget(t *testing.T) {
	if testing.Short() {
		t.Skip("a fleet for some seconds")
	}
	fleetRun{members: environments, limit: -1, budget: 40, others: 10}.run(t)
}

// Some have no connection at any time. They take turns, so that nobody fails.
func TestAFleetOfMoreEnvironmentsThanConnections(t *testing.T) {
	if testing.Short() {
		t.Skip("a fleet for some seconds")
	}
	fleetRun{members: environments, limit: 8}.run(t)
}

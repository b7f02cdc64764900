package pool_test

import (
	"bufio"
	"context"
	"encoding/json"
	"log/slog"
	"math/rand/v2"
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

// A fleet that fits its budget, or whose dials the server refuses. Each environment is a process, this binary again. Some are killed midway, and new ones
// come. LMIPOOL_TEST_FLEET is for how long each fleet runs: "60s" makes it the acceptance test, with the whole load and with times. Otherwise there are
// half as many environments, and all that they share is half as large.

// The variables that make this binary a member of such a fleet.
const (
	fleetDSN    = "FLEET_DSN"
	fleetFor    = "FLEET_FOR"
	fleetBudget = "FLEET_BUDGET"
	fleetAtOnce = "FLEET_AT_ONCE" // invocations
	fleetThink  = "FLEET_THINK"
)

const environments = 12

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
	lasts, think := parsed(os.Getenv(fleetFor)), parsed(os.Getenv(fleetThink))
	budget, err := strconv.Atoi(os.Getenv(fleetBudget))
	if err != nil {
		panic(err)
	}
	atOnce, err := strconv.Atoi(os.Getenv(fleetAtOnce))
	if err != nil {
		panic(err)
	}
	config, work := &pool.Config{MaxConns: 16, FleetBudget: int32(budget), Logger: slog.New(slog.DiscardHandler)}, readBriefly
	if budget < 0 { // then the server's refusals alone hold the fleet back
		config.MaxConns, work = 4, readAndHold
		config.MaxConnLifetime, config.MaxConnLifetimeJitter = time.Second, 2*time.Second // or else the fleet would soon have all there is, and keep it
	}
	p, err := pool.New(context.Background(), os.Getenv(fleetDSN), config)
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
			time.Sleep(think * time.Duration(i) / time.Duration(atOnce)) // not all think at the same time
			for time.Since(began) < lasts {
				start := time.Now()
				ctx, scope := p.OpenScope(context.Background(), "", start.Add(20*time.Second))
				err := work(ctx, p)
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

// readBriefly is one invocation: a read of 5 ms.
func readBriefly(ctx context.Context, p *pool.Pool) error {
	var n int
	return p.QueryRow(ctx, "select 1 from pg_sleep(0.005)").Scan(&n)
}

// readAndHold is one invocation: a read and a transaction that holds its connection for a while.
func readAndHold(ctx context.Context, p *pool.Pool) error {
	var n int
	if err := p.QueryRow(ctx, "select 1").Scan(&n); err != nil {
		return err
	}
	tx, err := p.Begin(ctx)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "select pg_sleep($1)", 0.04*rand.Float64()); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

// testMember is a running member.
type testMember struct {
	cmd    *osexec.Cmd
	mu     sync.Mutex
	last   memberReport
	killed bool
	done   chan error
}

func (f *fleetRun) startMember(ctx context.Context, t *testing.T, dsn string, lasts time.Duration) *testMember {
	t.Helper()
	atOnce, think := 16, time.Second
	if f.long {
		atOnce, think = 64, 100*time.Millisecond
	}
	m := &testMember{cmd: osexec.CommandContext(ctx, os.Args[0]), done: make(chan error, 1)}
	m.cmd.Env = append(os.Environ(), fleetDSN+"="+dsn, fleetFor+"="+lasts.String(), fleetThink+"="+think.String(), fleetBudget+"="+strconv.Itoa(f.budget), fleetAtOnce+"="+strconv.Itoa(atOnce))
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

// other takes and frees connections of dsn's, up to most, until ctx ends. It has most of them
// when it returns.
func other(ctx context.Context, t *testing.T, dsn string, most int) (changed func() int) {
	t.Helper()
	var have []*pgx.Conn
	for range most {
		c, err := pgx.Connect(ctx, dsn)
		require.NoError(t, err)
		have = append(have, c)
	}
	changes := 0
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			for want := rand.IntN(most + 1); len(have) != want; changes++ {
				if len(have) > want {
					have[0].Close(context.Background())
					have = have[1:]
					continue
				}
				c, err := pgx.Connect(ctx, dsn)
				if err != nil { // it is full for this one too
					break
				}
				have = append(have, c)
			}
			select {
			case <-ctx.Done():
			case <-time.After(rand.N(300 * time.Millisecond)):
			}
		}
		for _, c := range have {
			c.Close(context.Background())
		}
	}()
	return func() int { <-done; return changes }
}

// fleetRun says what a fleet does.
type fleetRun struct {
	members, limit int // how many environments; the CONNECTION LIMIT, -1 for none
	budget         int // FleetBudget
	others         int // the connections that a second client takes and frees at random
	long           bool
}

// run runs the fleet, and returns what all its members have done, and the reports of those that were not killed.
func (f fleetRun) run(t *testing.T) (sum memberReport, reports []memberReport) {
	t.Helper()
	lasts := envDuration(t, "LMIPOOL_TEST_FLEET", 3*time.Second)
	if f.long = os.Getenv("LMIPOOL_TEST_FLEET") != ""; !f.long {
		if f.members, f.others = f.members/2, f.others/2; f.limit > 0 {
			f.limit /= 2
		}
		if f.budget > 0 {
			f.budget /= 2
		}
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
			all = append(all, f.startMember(ctx, t, dsn, lasts-time.Since(began)))
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
	if f.long && f.budget >= 0 {
		assert.LessOrEqual(t, polls(), f.members, "polls in 5 s")
		if f.members < max(f.limit, f.budget) {
			assert.LessOrEqual(t, sum.Longest, time.Second)
			assert.LessOrEqual(t, float64(high), 1.5*float64(low), "shares")
		}
	}
	return sum, reports
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

// Pools that are told no budget take what they can get. Nobody fails, and a full server is not asked all the time.
func TestAFleetBeyondItsLimitFailsNobody(t *testing.T) {
	sum, reports := fleetRun{members: environments, limit: 40, budget: -1, others: 20}.run(t)
	if os.Getenv("LMIPOOL_TEST_FLEET") != "" { // the short form may be too slow to meet the limit
		assert.NotZero(t, sum.Refused, "the limit was met")
	}
	for e, r := range reports {
		assert.LessOrEqual(t, float64(r.Refused), 5*envDuration(t, "LMIPOOL_TEST_FLEET", 3*time.Second).Seconds(), "environment %d", e)
	}
}

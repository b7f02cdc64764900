package pool_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	osexec "os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/pool"
)

// A fleet that wants more than its role may have, beside a client that takes and frees some
// of it at random: each environment is a process, this binary again.

// The variables that make this binary an environment of the fleet.
const (
	fleetDSN = "FLEET_DSN"
	fleetFor = "FLEET_FOR"
)

const (
	environments = 12
	atOnce       = 64 // invocations, in each
	deadline     = 10 * time.Second
)

// environmentReport is what an environment has to say at its end.
type environmentReport struct {
	Invocations, Failed int64
	Error               string // of the first that failed
	Longest             time.Duration
	Opened, Refused     int64
	Seconds             float64
	Peak                float64 // refused per second, in the worst second
}

// runEnvironment is the main of a child.
func runEnvironment() {
	lasts, err := time.ParseDuration(os.Getenv(fleetFor))
	if err != nil {
		panic(err)
	}
	p, err := pool.New(context.Background(), os.Getenv(fleetDSN), &pool.Config{
		MaxConns:              4,
		FleetBudget:           -1,          // the server's refusals alone are to hold the fleet back
		MaxConnLifetime:       time.Second, // or else the fleet would soon have all there is, and keep it
		MaxConnLifetimeJitter: 2 * time.Second,
		Logger:                slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		panic(err)
	}
	began := time.Now()
	var r environmentReport
	var longest atomic.Int64
	var once sync.Once
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() {
			for time.Since(began) < lasts {
				start := time.Now()
				ctx, scope := p.OpenScope(context.Background(), "", start.Add(deadline))
				err := readAndHold(ctx, p)
				scope.End()
				atomic.AddInt64(&r.Invocations, 1)
				if err != nil {
					atomic.AddInt64(&r.Failed, 1)
					once.Do(func() { r.Error = err.Error() })
				}
				took := int64(time.Since(start))
				for old := longest.Load(); took > old && !longest.CompareAndSwap(old, took); old = longest.Load() {
				}
				time.Sleep(rand.N(time.Second)) // the rest of its work
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	tick := time.NewTicker(time.Second)
	last, at := int64(0), began
	for running := true; running; {
		select {
		case <-tick.C:
		case <-done:
			running = false
		}
		if now, n := time.Now(), p.Stat().Dials().Refused; now.Sub(at) > time.Second/2 {
			r.Peak = max(r.Peak, float64(n-last)/now.Sub(at).Seconds())
			last, at = n, now
		}
	}
	s := p.Stat()
	r.Longest, r.Opened, r.Refused = time.Duration(longest.Load()), s.NewConnsCount(), s.Dials().Refused
	r.Seconds = time.Since(began).Seconds()
	p.Close()
	if json.NewEncoder(os.Stdout).Encode(&r) != nil {
		os.Exit(1)
	}
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

func TestAFleetBeyondItsLimitFailsNobody(t *testing.T) {
	lasts := envDuration(t, "LMIPOOL_TEST_PRESSURE", 3*time.Second)
	dsn, i := limitedRole(t, 40)
	ctx, cancel := context.WithTimeout(context.Background(), lasts+time.Minute)
	defer cancel()
	others, stop := context.WithCancel(ctx)
	changed := other(others, t, dsn, 20)
	reports := make([]environmentReport, environments)
	var wg sync.WaitGroup
	for e := range reports {
		wg.Go(func() {
			cmd := osexec.CommandContext(ctx, os.Args[0])
			cmd.Env = append(os.Environ(), fleetDSN+"="+dsn, fleetFor+"="+lasts.String())
			cmd.Stderr = os.Stderr
			out, err := cmd.Output()
			if assert.NoError(t, err) {
				assert.NoError(t, json.Unmarshal(out, &reports[e]), "%s", out)
			}
		})
	}
	most := 0
	all := make(chan struct{})
	go func() { wg.Wait(); close(all) }()
	for running := true; running; {
		select {
		case <-all:
			running = false
		case <-time.After(50 * time.Millisecond):
			most = max(most, i.count("select count(*) from pg_stat_activity where usename like 'r\\_%' and datname = current_database()"))
		}
	}
	stop()
	changes := changed()
	var sum environmentReport
	for e, r := range reports {
		assert.Zero(t, r.Failed, "environment %d: %s", e, r.Error)
		assert.NotZero(t, r.Opened, "environment %d", e)
		assert.LessOrEqual(t, float64(r.Refused)/max(1, r.Seconds), 5.0, "environment %d", e)
		sum.Invocations += r.Invocations
		sum.Failed += r.Failed
		sum.Refused += r.Refused
		sum.Opened += r.Opened
		sum.Seconds += r.Seconds
		sum.Longest, sum.Peak = max(sum.Longest, r.Longest), max(sum.Peak, r.Peak)
	}
	assert.NotZero(t, sum.Refused, "the limit was met")
	t.Logf("%d environments for %s beside a client with 0 to 20 of 40 connections (%d changes): %d invocations, %d failed, the longest took %s;"+
		" %d connections opened, at most %d at once with the client's; dials refused %.2f per environment and second, %.1f in the worst second of one",
		environments, lasts, changes, sum.Invocations, sum.Failed, sum.Longest.Round(time.Millisecond), sum.Opened, most, float64(sum.Refused)/sum.Seconds, sum.Peak)
}

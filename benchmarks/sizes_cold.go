package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/internal/netfault"
	"github.com/lmipool/lmipool/pool"
)

// coldResult is one figure of one system's new or idle pool: the rounds' median and range.
type coldResult struct {
	Figure string `json:"figure"`
	System string `json:"system"`
	Value  figure `json:"value"`
	Range  spread `json:"range"`
	want   want
}

// opened returns how many connections d has opened since it was made.
func opened(d db) float64 {
	switch p := d.(type) {
	case *pool.Pool:
		return float64(p.Stat().NewConnsCount())
	case *pgxpool.Pool:
		return float64(p.Stat().NewConnsCount())
	}
	panic("neither")
}

// burst returns a measurement: 64 callers, spread over a time, run a statement of 1 ms each on a new pool, and it returns how many connections d opened.
func burst(over time.Duration) func(context.Context, db) (float64, error) {
	return func(ctx context.Context, d db) (float64, error) {
		const callers = 64
		var all sync.WaitGroup
		var failed faults
		began := time.Now()
		for i := range callers {
			sleepUntil(began.Add(over * time.Duration(i) / callers))
			all.Go(func() {
				if _, err := d.Exec(ctx, sleepSQL, 0.001); err != nil {
					failed.add(err)
				}
			})
		}
		all.Wait()
		time.Sleep(50 * time.Millisecond) // until then the dials that nobody waits for have ended
		return opened(d), failed.first
	}
}

// coldCallers has 1,024 callers run one text on a new pool, which has never seen that text. It returns after how many milliseconds the last caller had
// its answer.
func coldCallers(ctx context.Context, d db) (float64, error) {
	var all sync.WaitGroup
	var failed faults
	began := time.Now()
	for i := range 1024 {
		all.Go(func() {
			var got int
			if err := d.QueryRow(ctx, "select $1::int8 + 1", i).Scan(&got); err != nil || got != i+1 {
				failed.add(fmt.Errorf("%d came back, want %d: %w", got, i+1, err))
			}
		})
	}
	all.Wait()
	return time.Since(began).Seconds() * 1e3, failed.first
}

// measureCold measures what needs no warm-up: the first moments of a new pool, and how many connections an idle pool keeps.
func (r *sizesResult) measureCold(ctx context.Context, s *server, o *sizesOptions) error {
	far, err := netfault.Listen(s.pg.Addr())
	if err != nil {
		return err
	}
	defer far.Close()
	far.SetRoundTrip(10 * time.Millisecond)
	for _, x := range []struct {
		figure      string
		addr        string
		connections int
		want        want
		run         func(context.Context, db) (float64, error)
	}{
		{"connections opened by 64 × 1 ms at once", s.pg.Addr(), 64, atMost(4), burst(0)},
		{"connections opened by 64 × 1 ms over 64 ms", s.pg.Addr(), 64, atMost(3), burst(64 * time.Millisecond)},
		{"1,024 cold callers on 2 connections at 10 ms: ms until the last is answered", far.Addr(), 2, atMost(1000), coldCallers},
	} {
		values := map[string][]float64{}
		for range o.rounds {
			for _, name := range []string{lmipool, plain} {
				if err := s.settled(ctx); err != nil {
					return err
				}
				d, err := makePressed(ctx, name, connString(x.addr), x.connections, false)
				if err != nil {
					return err
				}
				v, err := x.run(ctx, d)
				d.Close()
				if err != nil {
					return fmt.Errorf("%s, %s: %w", x.figure, name, err)
				}
				values[name] = append(values[name], v)
			}
		}
		r.addCold(x.figure, lmipool, values[lmipool], x.want)
		r.addCold(x.figure, plain, values[plain], want{})
	}
	for _, least := range []int{2, 0} {
		left, err := idles(ctx, s, least)
		if err != nil {
			return fmt.Errorf("idle: %w", err)
		}
		r.addCold(fmt.Sprintf("backends of an idle pool with MinConns %d", least), lmipool, []float64{left}, atMost(float64(least)))
	}
	return nil
}

func (r *sizesResult) addCold(name, system string, values []float64, w want) {
	r.Cold = append(r.Cold, coldResult{name, system, median(values), spreadOf(values), w})
}

// idles returns how many backends a pool still has when it has been idle for a while after work for many connections. least is its MinConns.
func idles(ctx context.Context, s *server, least int) (float64, error) {
	c := &pool.Config{MaxConns: 16, MinConns: int32(least), MaxConnIdleTime: 300 * time.Millisecond, HealthCheckPeriod: 50 * time.Millisecond}
	p, err := pool.New(ctx, connString(s.pg.Addr()), c)
	if err != nil {
		return 0, err
	}
	defer p.Close()
	var all sync.WaitGroup
	var failed faults
	for range crowd {
		all.Go(func() {
			if _, err := p.Exec(ctx, sleepSQL, 0.05); err != nil {
				failed.add(err)
			}
		})
	}
	all.Wait()
	if failed.first != nil {
		return 0, failed.first
	}
	if err := sleep(ctx, 2*time.Second); err != nil {
		return 0, err
	}
	n, err := s.backends(ctx)
	return float64(n), err
}

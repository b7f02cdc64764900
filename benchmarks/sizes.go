package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/pool"
)

// sizesSwept are the fixed numbers of connections with which the automatic number is compared.
var sizesSwept = []int{1, 2, 4, 8, 16, 32, 64}

const (
	asGood = 0.97 // the best size is the smallest one with this part of the highest throughput
	spare  = 2    // how many more connections than the best size the automatic size may have
)

// mixes are the loads under which the sizes are compared. All run on a server that waits for its disk.
var mixes = []workload{
	point,
	durable,
	{name: "tx3", writes: true, run: threeStatements},
	{name: "web", writes: true, run: func(ctx context.Context, d db, p pick) error {
		switch {
		case p.draw < 0.8:
			return selectPoint(ctx, d, p)
		case p.draw < 0.9:
			return selectRows(ctx, d, p)
		case p.draw < 0.98:
			return update(ctx, d, p)
		}
		return threeStatements(ctx, d, p)
	}},
	{name: "half", writes: true, run: func(ctx context.Context, d db, p pick) error {
		if p.draw < 0.5 {
			return selectPoint(ctx, d, p)
		}
		return update(ctx, d, p)
	}},
}

// changes are pairs of mixes: after a while the second one replaces the first.
var changes = []change{{"point", "durable"}, {"durable", "point"}, {"web", "half"}, {"tx3", "point"}}

type change struct{ from, to string }

func (c change) name() string { return c.from + ", then " + c.to }

// coldName is what cold bursts and idle pools are called where the figures to measure are chosen.
const coldName = "cold"

// isBase reports whether the best size for w is needed.
func (o *sizesOptions) isBase(w workload) bool {
	return o.only.MatchString(w.name) || slices.ContainsFunc(changes, func(c change) bool { return c.to == w.name && o.only.MatchString(c.name()) })
}

func mixNamed(name string) workload {
	return mixes[slices.IndexFunc(mixes, func(m workload) bool { return m.name == name })]
}

func threeStatements(ctx context.Context, d db, p pick) error {
	return pool.InTx(ctx, d.(*pool.Pool), pool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		var id int
		for _, sql := range []string{"select id from t where id = $1", "update t set n = n + 1 where id = $1 returning id", "select id from t where id = $1"} {
			if err := tx.QueryRow(ctx, sql, p.id).Scan(&id); err != nil {
				return err
			}
		}
		return nil
	})
}

// sized is what a pool of one size did in one measurement.
type sized struct {
	perSecond   float64
	connections float64 // open connections, median of the window's samples
	inUse       float64
}

// bestSize returns the smallest size that has asGood of the highest throughput. throughput has, by size, the values of the rounds.
func bestSize(throughput map[int][]float64) int {
	most := 0.0
	for _, rounds := range throughput {
		most = max(most, float64(median(rounds)))
	}
	for _, n := range sizesSwept {
		if m := median(throughput[n]); m.known() && float64(m) >= asGood*most {
			return n
		}
	}
	return 0
}

// newSized makes a pool with n open connections. If n is 0, the pool itself chooses how many connections it has, up to 64.
func newSized(ctx context.Context, s *server, n int) (*pool.Pool, error) {
	c := &pool.Config{MaxConns: 64}
	if n > 0 {
		c.MaxConns, c.MinConns = int32(n), int32(n)
	}
	p, err := pool.New(ctx, connString(s.pg.Addr()), c)
	if err != nil {
		return nil, err
	}
	if err := p.Warm(ctx); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// sizeOf puts p under the load w, and returns what p did in the window.
func sizeOf(ctx context.Context, s *server, p *pool.Pool, w workload, t timing, seed uint64) (x sized, err error) {
	watching, stop := context.WithCancel(ctx)
	var open, used []float64
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = sleep(watching, t.warmup)
		for sleep(watching, 10*time.Millisecond) == nil {
			stat := p.Stat()
			open, used = append(open, float64(stat.TotalConns())), append(used, float64(stat.AcquiredConns()))
		}
	}()
	l, err := closedLoop(ctx, p, w, crowd, seed, t, &meter{postmaster: s.pg.Pid()})
	stop()
	<-done
	if err == nil {
		err = l.faults.first
	}
	return sized{float64(l.completed) / l.took.Seconds(), float64(median(open)), float64(median(used))}, err
}

// anew tidies the server and calls sizeOf with a new pool of n connections.
func anew(ctx context.Context, s *server, n int, w workload, t timing, seed uint64) (x sized, err error) {
	if err := s.tidy(ctx); err != nil {
		return x, err
	}
	if err := s.settled(ctx); err != nil {
		return x, err
	}
	p, err := newSized(ctx, s, n)
	if err != nil {
		return x, err
	}
	defer p.Close()
	return sizeOf(ctx, s, p, w, t, seed)
}

// measureSizes measures cold and idle pools, all mixes, and all changes of the mix.
func measureSizes(ctx context.Context, o *sizesOptions, tell func(string, ...any)) (*sizesResult, error) {
	r := &sizesResult{Settings: newSettings(o.general(), time.Now()), short: o.short}
	l := &lab{}
	defer l.close()
	var err error
	if l.fast, err = startServer(ctx, quiet, roomy, waitsForDisk); err != nil {
		return nil, err
	}
	if err := r.Settings.ofServers(ctx, l); err != nil {
		return nil, err
	}
	s := l.fast
	tell("about %v\n", o.expected().Round(time.Second))
	if o.only.MatchString(coldName) {
		if err := r.measureCold(ctx, s, o); err != nil {
			return nil, err
		}
	}
	best := map[string]int{}
	for _, w := range mixes {
		if !o.isBase(w) {
			continue
		}
		tell("%s\n", w.name)
		m, err := o.sweep(ctx, s, w)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", w.name, err)
		}
		best[w.name] = m.Best
		r.Mixes = append(r.Mixes, m)
	}
	for _, c := range changes {
		if !o.only.MatchString(c.name()) {
			continue
		}
		tell("%s\n", c.name())
		x, err := o.change(ctx, s, mixNamed(c.from), mixNamed(c.to), best[c.to])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name(), err)
		}
		r.Changes = append(r.Changes, x)
	}
	return r, nil
}

// sweep finds the best size for w in one set of rounds, and compares the automatic size with it in another set, so that the choice is not judged by its
// own luck.
func (o *sizesOptions) sweep(ctx context.Context, s *server, w workload) (m mixResult, err error) {
	m = mixResult{Mix: w.name, Sizes: map[int]figure{}}
	throughput := map[int][]float64{}
	for round := range o.rounds {
		for i := range sizesSwept {
			n := sizesSwept[(i+round)%len(sizesSwept)]
			x, err := anew(ctx, s, n, w, o.timing, uint64(round))
			if err != nil {
				return m, err
			}
			throughput[n] = append(throughput[n], x.perSecond)
		}
	}
	for n, rounds := range throughput {
		m.Sizes[n] = median(rounds)
	}
	m.Best = bestSize(throughput)
	if !o.only.MatchString(w.name) {
		return m, nil
	}
	var fixed, auto []sized
	for round := range o.rounds {
		for i := range 2 {
			n, to := m.Best, &fixed
			if (i+round)%2 == 1 {
				n, to = 0, &auto
			}
			x, err := anew(ctx, s, n, w, timing{o.settle, o.timing.duration}, uint64(100+round))
			if err != nil {
				return m, err
			}
			*to = append(*to, x)
		}
	}
	m.compared = newCompared(auto, fixed)
	return m, nil
}

// change measures the automatic size after the mix changed from first to then, and compares it with best, the best size for then.
func (o *sizesOptions) change(ctx context.Context, s *server, first, then workload, best int) (c changeResult, err error) {
	c = changeResult{From: first.name, To: then.name, Best: best}
	var fixed, auto []sized
	for round := range o.rounds {
		x, err := anew(ctx, s, best, then, o.timing, uint64(200+round))
		if err != nil {
			return c, err
		}
		fixed = append(fixed, x)
		x, err = func() (x sized, err error) {
			if err := s.settled(ctx); err != nil {
				return x, err
			}
			p, err := newSized(ctx, s, 0)
			if err != nil {
				return x, err
			}
			defer p.Close()
			if _, err := sizeOf(ctx, s, p, first, timing{0, o.settle}, uint64(round)); err != nil {
				return x, err
			}
			return sizeOf(ctx, s, p, then, timing{o.settle, o.timing.duration}, uint64(200+round))
		}()
		if err != nil {
			return c, err
		}
		auto = append(auto, x)
	}
	c.compared = newCompared(auto, fixed)
	return c, nil
}

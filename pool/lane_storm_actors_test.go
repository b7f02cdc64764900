package pool_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"

	"github.com/lmipool/lmipool/pool"
)

// actor is one invocation after the other, until the books are full.
func (s *storm) actor(r *rand.Rand) {
	for s.invocation(r) {
	}
}

// ending is how far the end of an invocation has come.
type ending struct {
	scope *pool.Scope // nil: nothing ends
	soon  bool        // also if its statements are never done, because others hold and wait likewise

	mu      sync.Mutex
	entries []*entry
	begun   bool
	over    bool
}

func (e *ending) is() (begun, over bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.begun, e.over
}

// invocation runs a few statements, up to three at a time, in a scope that ends when
// they are done or at any moment before. It reports whether there is more to do.
func (s *storm) invocation(r *rand.Rand) (more bool) {
	var deadline time.Time
	if r.IntN(4) == 0 {
		deadline = time.Now().Add(time.Duration(5+r.IntN(300)) * time.Millisecond)
	}
	ctx, e := context.Background(), &ending{soon: !deadline.IsZero()}
	if r.IntN(10) > 0 {
		ctx, e.scope = s.p.OpenScope(ctx, "", deadline)
	}
	full := make(chan struct{}, 4)
	var wg sync.WaitGroup
	for range 1 + r.IntN(3)*r.IntN(2) {
		r, n := rand.New(rand.NewPCG(r.Uint64(), 0)), 1+r.IntN(6)
		wg.Go(func() {
			for range n {
				if !s.call(ctx, e, r) {
					full <- struct{}{}
					return
				}
				if _, over := e.is(); over && r.IntN(2) == 0 {
					return
				}
			}
		})
	}
	if e.scope != nil && r.IntN(5) == 0 {
		time.Sleep(time.Duration(r.IntN(15_000)) * time.Microsecond)
		e.end()
	}
	wg.Wait()
	e.end()
	if e.scope != nil && r.IntN(8) == 0 {
		s.call(ctx, e, r) // too late
	}
	return len(full) == 0
}

// end ends the invocation, and notes what it had not sent by then.
func (e *ending) end() {
	if e.scope == nil {
		return
	}
	e.mu.Lock()
	e.begun = true
	e.mu.Unlock()
	e.scope.End()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.over = true
	for _, of := range e.entries {
		of.abandoned()
	}
	e.entries = nil
}

// call makes one random call. false: the books are full.
func (s *storm) call(ctx context.Context, e *ending, r *rand.Rand) bool {
	k := s.kinds[r.IntN(len(s.kinds))]
	readers := s.b.next.Load()/500%2 == 1 && r.IntN(500) > 0
	if readers { // at times there is hardly anything else, so that lanes fly on and on
		for !k.mayRide || k.guarded || k.stale || k.weight < 20 {
			k = s.kinds[r.IntN(len(s.kinds))]
		}
	}
	e.mu.Lock()
	late := e.over
	of := s.b.open(k, late)
	if of != nil {
		e.entries = append(e.entries, of)
	}
	e.mu.Unlock()
	if of == nil {
		return false
	}
	ctx = context.WithValue(ctx, stormCall{}, true)
	cancel := func() {}
	switch r.IntN(30) {
	case 0, 1:
		ctx, cancel = context.WithTimeout(ctx, time.Duration(1+r.IntN(50))*time.Millisecond)
	case 2, 3:
		ctx, cancel = context.WithCancel(ctx)
		defer time.AfterFunc(time.Duration(r.IntN(20_000))*time.Microsecond, cancel).Stop()
	case 4:
		if !readers {
			ctx = pool.Alone(ctx)
		}
	}
	defer cancel()
	c := &call{entry: of, s: s, r: r, ctx: ctx, end: e.scope != nil && e.soon}
	began, looked := time.Now(), s.looked.Load()
	err := k.run(c)
	if err == nil {
		s.answered.Add(1)
	}
	begun, _ := e.is()
	if took := time.Since(began); took > 15*time.Second && s.looked.Load()-looked > 300 { // on a starved machine those who look are slow too
		c.violation("it took too long", "%v: %v", took, err)
	}
	if late && !errors.Is(err, pool.ErrInvocationEnded) {
		c.violation("its invocation had ended, but it was not told", "%v", err)
	}
	of.err = err
	of.close(c.fateOf(err, begun))
	return true
}

// stormCall marks the ctx of a call, as opposed to the pool's own.
type stormCall struct{}

// killed is what a backend says that was terminated.
const killed = "57P01"

// lost reports whether err may come from a connection that was torn down.
func lost(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code == killed
	}
	var n net.Error
	if errors.As(err, &n) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
		return true
	}
	return strings.Contains(err.Error(), "conn closed")
}

// weather is what happens to the pool while it is used: its backends are killed, its
// connections cut, a table of it is locked now and then and another one altered.
func (s *storm) weather() (over func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	every := func(d time.Duration, seed uint64, f func(*pgx.Conn, *rand.Rand)) {
		c := s.connect()
		wg.Go(func() {
			defer c.Close(context.Background())
			r := rand.New(rand.NewPCG(s.seed, seed))
			tick := time.NewTicker(d)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
					f(c, r)
				}
			}
		})
	}
	exec := func(c *pgx.Conn, sql string) {
		_, err := c.Exec(context.Background(), sql)
		assert.NoError(s.t, err, sql)
	}
	served, inVain := int64(0), 0 // what had been answered at some time, and the connections ended since, before so many more were
	every(100*time.Millisecond, 1001, func(c *pgx.Conn, r *rand.Rand) {
		how := r.IntN(3)
		if n := s.answered.Load(); n < served+30 {
			inVain++
		} else {
			served, inVain = n, 0
		}
		switch {
		case inVain > 1: // where a dial takes longer than they let it live, no connection would ever serve anybody
		case s.done() > 0.95: // so that there are connections to look at
		case how == 0 || !s.cuts():
			var pid int
			err := c.QueryRow(context.Background(), "select pid from pg_stat_activity where application_name like 'lmipool/%/storm' and datname = current_database() order by random() limit 1").Scan(&pid)
			if err == nil {
				s.killed.Store(pid, true)
				exec(c, fmt.Sprintf("select pg_terminate_backend(%d)", pid))
			}
		case how == 1:
			s.proxy.Cut()
		default:
			s.proxy.Reset()
		}
	})
	every(200*time.Millisecond, 1002, func(c *pgx.Conn, r *rand.Rand) {
		exec(c, fmt.Sprintf("begin; lock table locked in access exclusive mode; select pg_sleep(%f); commit", 0.05+0.2*r.Float64()))
	})
	every(100*time.Millisecond, 1003, func(c *pgx.Conn, r *rand.Rand) {
		exec(c, "alter table shifty alter column v type "+[]string{"int using v::int", "text"}[r.IntN(2)])
	})
	every(20*time.Millisecond, 1004, func(c *pgx.Conn, _ *rand.Rand) {
		s.looked.Add(1)
		strict := !s.cuts()
		rows, err := c.Query(context.Background(), "select pid from pg_stat_activity where application_name like 'lmipool/%/storm' and datname = current_database()")
		if !assert.NoError(s.t, err) {
			return
		}
		pids, err := pgx.CollectRows(rows, pgx.RowTo[int])
		assert.NoError(s.t, err)
		// A backend whose connection was cut may go on for a while, and nobody here
		// can know. One that was killed says goodbye before it goes.
		n := 0
		for _, pid := range pids {
			if _, dying := s.killed.Load(pid); !dying {
				n++
			}
		}
		if n > s.conns && strict {
			s.b.violation("too many backends", "%d", n)
		}
		s.most = max(s.most, n)
	})
	return func() { cancel(); wg.Wait() }
}

// cuts reports whether it is time to cut connections too.
func (s *storm) cuts() bool { return s.done() > 0.6 }

func (s *storm) done() float64 { return float64(s.b.next.Load()) / float64(len(s.b.entries)) }

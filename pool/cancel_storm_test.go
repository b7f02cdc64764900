package pool_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// cancelDials is a BeforeConnect that has dial make the cancel connections: all that a
// connection dials after itself.
func cancelDials(dial func(context.Context, func() (net.Conn, error)) (net.Conn, error)) func(context.Context, *pgx.ConnConfig) error {
	return func(_ context.Context, c *pgx.ConnConfig) error {
		var dialed atomic.Bool
		orig := c.DialFunc
		c.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
			own := func() (net.Conn, error) { return orig(ctx, network, addr) }
			if dialed.CompareAndSwap(false, true) {
				return own()
			}
			return dial(ctx, own)
		}
		return nil
	}
}

// gauge counts what is open, and how much was at most.
type gauge struct{ now, most, all atomic.Int64 }

// enter counts one more until leave is called, once or more often.
func (g *gauge) enter() (leave func()) {
	g.all.Add(1)
	n := g.now.Add(1)
	for m := g.most.Load(); n > m && !g.most.CompareAndSwap(m, n); m = g.most.Load() {
	}
	return sync.OnceFunc(func() { g.now.Add(-1) })
}

func (g *gauge) dial(_ context.Context, own func() (net.Conn, error)) (net.Conn, error) {
	leave := g.enter()
	nc, err := own()
	if err != nil {
		leave()
		return nil, err
	}
	return &gauged{nc, leave}, nil
}

type gauged struct {
	net.Conn
	leave func()
}

func (c *gauged) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// cancelsInStorm is how many statements the storm cancels.
func cancelsInStorm(t testing.TB) int64 {
	return int64(envInt(t, "LMIPOOL_TEST_CANCELS", 600))
}

// Statements of every kind are cancelled at random moments. No connection is lost, no
// cancel request hits anybody else, what is answered by 57014 has not happened, and the
// server never has more connections than are stated.
func TestStormOfCancels(t *testing.T) {
	t.Parallel()
	for _, lanes := range []pool.Switch{pool.Off, pool.Auto} {
		t.Run("lanes "+string(lanes), func(t *testing.T) {
			t.Parallel()
			stormOfCancels(t, lanes)
		})
	}
}

func stormOfCancels(t *testing.T, lanes pool.Switch) {
	const most, callers, others = 6, 10, 3
	dsn := pgtest.Database(t)
	see := newInspector(t, dsn)
	var open gauge
	log := &logs{}
	p := newPoolAt(t, dsn, &pool.Config{
		MaxConns: most, CancelWait: patience, Lanes: lanes, Logger: log.logger(),
		MinConns:      most, // so that none is closed because fewer are enough under load
		BeforeConnect: cancelDials(open.dial),
	})
	ctx := context.Background()
	_, err := p.Exec(ctx, "create table t (n int)")
	require.NoError(t, err)

	var left, inTime, happened, unsent atomic.Int64
	left.Store(cancelsInStorm(t))
	stop := make(chan struct{})
	var beside sync.WaitGroup
	sampled := see.neverMore(most)
	for range others {
		beside.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if !unharmed(t, p, i) {
					return
				}
			}
		})
	}
	began := time.Now()
	together(callers, func(g int) {
		r := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), uint64(g)))
		for left.Add(-1) >= 0 && !t.Failed() {
			wrote, err := cancelled(t, p, r)
			switch {
			case err == nil:
				if wrote {
					happened.Add(1)
				}
				inTime.Add(1)
			case !errors.Is(err, context.DeadlineExceeded):
				t.Errorf("a cancelled statement failed of something else: %v", err)
			case pool.OutcomeUnknown(err):
				t.Errorf("no connection is lost, so every outcome is known: %v", err)
			case !isPgError(err):
				unsent.Add(1)
			}
		}
	})
	took := time.Since(began)
	close(stop)
	beside.Wait()
	sampled()
	eventually(t, "everything came back", func() bool {
		s := p.Stat()
		return s.AcquiredConns() == 0 && s.Cancels().Conns == 0 && s.TotalConns() == s.IdleConns()
	})
	s := p.Stat()
	assert.Zero(t, s.Cancels().Lost)
	assert.LessOrEqual(t, s.NewConnsCount(), int64(most), "a connection was lost: %q", log.lines())
	assert.EqualValues(t, happened.Load(), see.count("select count(*) from t"), "writes that happened")
	assert.LessOrEqual(t, open.most.Load(), int64(s.Cancels().MaxConns))
	t.Logf("%d statements in %s: %d were in time, %d not sent, %d cancel requests, at most %d at once; %d of the others rode",
		cancelsInStorm(t), round(took), inTime.Load(), unsent.Load(), s.Cancels().Requests, open.most.Load(), s.Lanes().Rides)
}

func isPgError(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg)
}

// unharmed runs what nobody cancels.
func unharmed(t *testing.T, p *pool.Pool, i int) bool {
	ctx := context.Background()
	n := 0
	for range 4 { // these may ride
		if err := p.QueryRow(ctx, "select sum(n)::int from generate_series(1, $1::int) n", 2000).Scan(&n); err != nil {
			return assert.NoError(t, err, "somebody else's cancel request")
		}
	}
	err := p.AcquireFunc(ctx, func(l *pool.Lease) error {
		if i%2 == 0 {
			return l.QueryRow(ctx, "select sum(n)::int from generate_series(1, 2000) n").Scan(&n)
		}
		x, err := l.Begin(ctx)
		if err != nil {
			return err
		}
		if err = x.QueryRow(ctx, "select sum(n)::int from generate_series(1, 2000) n").Scan(&n); err != nil {
			return err
		}
		return x.Commit(ctx)
	})
	return assert.NoError(t, err, "somebody else's cancel request") && assert.Equal(t, 2001000, n)
}

// cancelled runs one of the things that can be cancelled, and says whether it writes. Its
// ctx ends at random, but not before it has a connection.
func cancelled(t *testing.T, p *pool.Pool, r *rand.Rand) (wrote bool, err error) {
	sleep := fmt.Sprintf("pg_sleep(%f)", r.Float64()*0.008)
	insert := "insert into t select 1 from " + sleep
	after := time.Duration(r.IntN(9000)) * time.Microsecond
	if r.IntN(4) == 0 {
		ctx, cancel := context.WithTimeout(context.Background(), after)
		defer cancel()
		_, err = p.Exec(ctx, insert)
		return true, err
	}
	l, err := p.Acquire(context.Background())
	if err != nil {
		return false, err
	}
	defer l.Release()
	ctx, cancel := context.WithTimeout(context.Background(), after)
	defer cancel()
	switch r.IntN(6) {
	case 0:
		_, err = l.Exec(ctx, insert)
		return true, err
	case 1:
		return true, l.QueryRow(ctx, insert+" returning n").Scan(new(int))
	case 2:
		rows, err := l.Query(ctx, "select repeat('x', 100) from generate_series(1, 20000)")
		if err != nil {
			return false, err
		}
		for rows.Next() {
		}
		return false, rows.Err()
	case 3:
		b := &pgx.Batch{}
		b.Queue("select " + sleep)
		b.Queue("insert into t values (1)")
		return true, l.SendBatch(ctx, b).Close()
	case 4: // the same lease goes on
		_, err = l.Exec(ctx, insert)
		n := 0
		if err := l.QueryRow(context.Background(), "select sum(n)::int from generate_series(1, 2000) n").Scan(&n); err != nil {
			t.Errorf("the statement before was cancelled, this one was not: %v", err)
		}
		return true, err
	default:
		x, err := l.Begin(ctx)
		if err != nil {
			return false, err
		}
		defer x.Rollback(ctx)
		if _, err = x.Exec(ctx, insert); err != nil {
			return false, err
		}
		return true, x.Commit(ctx)
	}
}

// Many statements run into their timeout at the same moment, and the callers have no
// time: whether their connections survive or not, the server does not work on for nobody.
func TestMassTimeoutsLeaveNoOrphan(t *testing.T) {
	t.Parallel()
	const most = 64
	dsn := pgtest.Database(t)
	see := newInspector(t, dsn)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: most, Logger: (&logs{}).logger()})
	p.LooksAtOnce(false)
	ctx, cancel := context.WithCancel(bounded(t))
	defer cancel()
	var took [most]time.Duration
	var timeout atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		together(most, func(i int) {
			_, err := p.Exec(ctx, "select pg_sleep(30)")
			took[i] = time.Duration(time.Now().UnixNano() - timeout.Load())
			assert.ErrorIs(t, err, context.Canceled)
		})
	}()
	require.Eventually(t, func() bool { return see.running("%pg_sleep(30)") == most }, 15*time.Second, 5*time.Millisecond)
	began := time.Now()
	timeout.Store(began.UnixNano())
	cancel()
	ends(t, "all callers are back", done)
	eventually(t, "no orphan", func() bool { return see.running("%pg_sleep(30)") == 0 })
	gone := time.Since(began)
	s := p.Stat()
	last := time.Duration(0)
	for _, d := range took {
		last = max(last, d)
	}
	t.Logf("the last caller was back after %s, the last statement had ended after %s; %d cancel requests, %d connections given up",
		round(last), round(gone), s.Cancels().Requests, s.Cancels().Lost)
	eventually(t, "the pool is whole", func() bool { return p.Stat().TotalConns() == p.Stat().IdleConns() })
}

func round(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }

package pool_test

import (
	"context"
	"database/sql/driver"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// slowSource hangs in one of its calls, or in a method of one of its values, until it is let go, and then has rows for ever.
type slowSource struct {
	in    string
	hangs chan struct{} // closed when it does
	let   chan struct{}
	over  chan struct{} // closed when the call that hung has returned
	calls atomic.Int64
	rows  int
}

func newSlowSource(in string) *slowSource {
	return &slowSource{in: in, hangs: make(chan struct{}), let: make(chan struct{}), over: make(chan struct{})}
}

func (s *slowSource) at(call string) {
	s.calls.Add(1)
	if call == s.in && s.rows == 3 {
		close(s.hangs)
		<-s.let
		defer close(s.over)
		s.rows++
	}
}

func (s *slowSource) Next() bool {
	s.at("Next")
	s.rows++
	return s.rows < 1_000_000
}

func (s *slowSource) Values() ([]any, error) {
	s.at("Values")
	return []any{slowValue{s}}, nil
}

func (s *slowSource) Err() error {
	s.at("Err")
	return nil
}

type slowValue struct{ s *slowSource }

func (v slowValue) Value() (driver.Value, error) {
	v.s.at("Value")
	return int64(v.s.rows), nil
}

// Whoever copies is free when his ctx ends, whatever the source is at. Nothing was copied, the source is not
// asked again, and the connection is as good as before.
func TestWhoCopiesIsFreeWhenHisCtxEnds(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	see := newInspector(t, dsn)
	see.exec("create table t (i int8)")
	ways := map[string]func(ctx context.Context, p *pool.Pool, src pgx.CopyFromSource) error{
		"the pool": func(ctx context.Context, p *pool.Pool, src pgx.CopyFromSource) error {
			return second(p.CopyFrom(ctx, pgx.Identifier{"t"}, []string{"i"}, src))
		},
		"a lease": func(ctx context.Context, p *pool.Pool, src pgx.CopyFromSource) error {
			return p.AcquireFunc(bounded(t), func(l *pool.Lease) error {
				err := second(l.CopyFrom(ctx, pgx.Identifier{"t"}, []string{"i"}, src))
				if s, ok := src.(*slowSource); ok && s.in != "Value" {
					assert.NoError(t, l.Ping(bounded(t)), "it goes on")
				}
				return err
			})
		},
		"a transaction": func(ctx context.Context, p *pool.Pool, src pgx.CopyFromSource) error {
			return pool.InTx(bounded(t), p, pool.TxOptions{}, func(_ context.Context, tx pgx.Tx) error {
				return second(tx.CopyFrom(ctx, pgx.Identifier{"t"}, []string{"i"}, src))
			})
		},
		"settings": func(ctx context.Context, p *pool.Pool, src pgx.CopyFromSource) error {
			return second(p.With(map[string]string{"app.x": "1"}).CopyFrom(ctx, pgx.Identifier{"t"}, []string{"i"}, src))
		},
		"an invocation that ends": func(ctx context.Context, p *pool.Pool, src pgx.CopyFromSource) error {
			ctx, scope := p.OpenScope(ctx, "id", time.Time{})
			defer scope.End()
			return second(p.CopyFrom(ctx, pgx.Identifier{"t"}, []string{"i"}, src))
		},
	}
	for way, copies := range ways {
		for _, in := range []string{"Next", "Values", "Value"} {
			p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1, Logger: (&logs{}).logger()})
			before := pid(t, p)
			src := newSlowSource(in)
			ctx, cancel := context.WithCancel(bounded(t))
			done := make(chan error)
			go func() { done <- copies(ctx, p, src) }()
			<-src.hangs
			cancel()
			err := ends(t, way+": the call whose source hangs in "+in, done)
			calls := src.calls.Load()
			require.ErrorIs(t, err, context.Canceled, "%s, %s", way, in)
			assert.False(t, pool.OutcomeUnknown(err), "%s, %s: %v", way, in, err)
			after := pid(t, p) // waits until the place is free
			if in == "Value" {
				assert.NotEqual(t, before, after, "%s: its types are still in use", way)
			} else {
				assert.Equal(t, before, after, "%s, %s", way, in)
			}
			close(src.let)
			<-src.over
			require.NoError(t, p.Ping(bounded(t)))
			assert.Equal(t, calls, src.calls.Load(), "%s, %s: it is not asked again", way, in)
			require.NoError(t, copies(bounded(t), p, pgx.CopyFromRows([][]any{{1}})), "%s, %s", way, in)
			assert.Equal(t, 1, see.count("select count(*) from t"), "%s, %s", way, in)
			see.exec("truncate t")
			p.Close()
		}
	}
}

// A source whose rows come slowly is not asked until a message is full.
func TestASourceIsAskedNoMoreWhenTheCtxHasEnded(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	newInspector(t, dsn).exec("create table t (i int8)")
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1, Logger: (&logs{}).logger()})
	ctx, cancel := context.WithCancel(bounded(t))
	var asked atomic.Int64 // a call may run on
	source := func(cancel func()) pgx.CopyFromSource {
		asked.Store(0)
		return pgx.CopyFromFunc(func() ([]any, error) {
			n := asked.Add(1)
			time.Sleep(time.Millisecond) // it is slow
			if n == 3 {
				cancel()
			}
			if n == 100_000 {
				return nil, nil
			}
			return []any{n}, nil
		})
	}
	require.ErrorIs(t, second(p.CopyFrom(ctx, pgx.Identifier{"t"}, []string{"i"}, source(cancel))), context.Canceled)
	require.NoError(t, p.Ping(bounded(t)))
	n := asked.Load()
	theirs, err := pgxpool.New(bounded(t), dsn)
	require.NoError(t, err)
	defer theirs.Close()
	ctx, cancel = context.WithCancel(bounded(t))
	defer cancel()
	require.ErrorIs(t, second(theirs.CopyFrom(ctx, pgx.Identifier{"t"}, []string{"i"}, source(cancel))), context.Canceled)
	t.Logf("asked %d times, pgxpool's %d", n, asked.Load())
	assert.Less(t, n, asked.Load())
}

package pool_test

import (
	"context"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// newMuteLab makes a lab whose next write can be made to fail.
func newMuteLab(t *testing.T) (b *awayLab, mute *atomic.Bool) {
	t.Helper()
	mute = new(atomic.Bool)
	return newAwayLab(t, &pool.Config{MaxConns: 1, BeforeConnect: wrapped(func(nc *net.TCPConn) net.Conn { return opaque{nc, mute} })}), mute
}

// A buffer is its owner's again when SendBatch has returned, as with pgx.
func TestABatchIsNotSentAgainWithWhatItsCallerHasMadeOfItsArguments(t *testing.T) {
	t.Parallel()
	b, mute := newMuteLab(t)
	b.see.exec("create table blob (b bytea)")
	buf := []byte("mine")
	q := &pgx.Batch{}
	q.Queue("insert into blob values ($1)", buf)
	mute.Store(true)
	r := b.p.SendBatch(bounded(t), q)
	copy(buf, "next")
	err := r.Close()
	assert.Zero(t, b.see.count("select count(*) from blob where b = 'next'"))
	if err != nil {
		assert.True(t, pool.Retryable(err), "%v", err)
	}
}

// Who has committed by hand has something that a second run would do twice.
func TestAFunctionThatHasCommittedByHandDoesNotRunAgain(t *testing.T) {
	t.Parallel()
	b := newAwayLab(t, &pool.Config{MaxConns: 1})
	calls := 0
	err := pool.InTx(bounded(t), b.p, pool.TxOptions{MaxRetries: 2}, func(ctx context.Context, tx pgx.Tx) error {
		calls++
		for _, sql := range []string{"insert into t values (100 + (select count(*) from t))", "commit"} {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return err
			}
		}
		if calls == 1 {
			b.proxy.Reset()
		}
		_, err := tx.Exec(ctx, "insert into t values (1)")
		return err
	})
	require.Error(t, err)
	assert.Equal(t, 1, calls)
	assert.Equal(t, 1, b.see.count("select count(*) from t"))
}

// A read that ran out of time, of a user who has waited for a notification, is not the end of the connection.
func TestALossIsSeenAlsoAfterAReadThatRanOutOfTime(t *testing.T) {
	t.Parallel()
	b := newAwayLab(t, &pool.Config{MaxConns: 1})
	l, err := b.p.Acquire(bounded(t))
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	_, err = l.Conn().WaitForNotification(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	before := pid(t, l)
	l.Release()
	eventually(t, "it is idle", func() bool { return b.p.Stat().IdleConns() == 1 })
	require.Equal(t, before, pid(t, b.p))
	eventually(t, "it is idle, and clean", func() bool { return b.p.Stat().IdleConns() == 1 })
	tx, err := b.p.Begin(bounded(t)) // it was heard from
	require.NoError(t, err)
	require.NoError(t, tx.Rollback(bounded(t)))
	b.proxy.Stall(true)
	done := make(chan error, 1)
	sent := b.p.Stat().AcquireCount()
	go func() {
		tx, err := b.p.Begin(bounded(t))
		if err == nil {
			err = tx.Rollback(bounded(t))
		}
		done <- err
	}()
	eventually(t, "it is sent", func() bool { return b.p.Stat().AcquireCount() > sent })
	time.Sleep(20 * time.Millisecond) // and under way, of which there is no sign
	b.proxy.Reset()
	b.proxy.Stall(false)
	require.NoError(t, ends(t, "BEGIN", done))
}

// The way to a server may be longer than a round trip: through a tunnel, say.
func TestAPoolComesBackAlsoWhereADialTakesItsTime(t *testing.T) {
	t.Parallel()
	var slow atomic.Bool
	dsn := pgtest.Database(t)
	see := newInspector(t, dsn)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1, Logger: (&logs{}).logger(), BeforeConnect: func(_ context.Context, c *pgx.ConnConfig) error {
		dial := c.DialFunc
		c.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if slow.Load() {
				select {
				case <-time.After(1500 * time.Millisecond):
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			}
			return dial(ctx, network, addr)
		}
		return nil
	}})
	require.NoError(t, p.Ping(bounded(t)))
	slow.Store(true)
	see.exec("select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
	require.NoError(t, p.Ping(bounded(t)))
}

// dying is a connection that is lost at its second word: the first logs in.
type dying struct {
	net.Conn
	words int
	err   error
}

func (c *dying) Write(b []byte) (int, error) { c.words++; return c.Conn.Write(b) }

func (c *dying) Read(b []byte) (int, error) {
	if c.words > 1 {
		return 0, c.err
	}
	return c.Conn.Read(b)
}

// A server that stops ends also the sessions that it has just begun.
func TestADialThatIsLostAfterItsLoginIsNobodysError(t *testing.T) {
	t.Parallel()
	for what, lost := range map[string]error{"FIN": io.EOF, "RST": &net.OpError{Op: "read", Err: syscall.ECONNRESET}} {
		var die atomic.Bool
		dsn := pgtest.Database(t)
		see := newInspector(t, dsn)
		p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1, Logger: (&logs{}).logger(), BeforeConnect: wrapped(func(nc *net.TCPConn) net.Conn {
			if die.CompareAndSwap(true, false) {
				return &dying{Conn: nc, err: lost}
			}
			return nc
		})})
		require.NoError(t, p.Ping(bounded(t)))
		see.exec("select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
		time.Sleep(5 * time.Millisecond) // until it can be seen on our side
		die.Store(true)
		require.NoError(t, p.Ping(bounded(t)), what)
		assert.EqualValues(t, 1, p.Stat().Dials().Failed, what)
	}
}

// A COMMIT that could not be written has committed nothing.
func TestACommitThatCouldNotBeWrittenIsNotUnknown(t *testing.T) {
	t.Parallel()
	b, mute := newMuteLab(t)
	runsAgain(t, b.p, b.see, 1, func(_ context.Context, _ pgx.Tx, call int) error {
		mute.Store(call == 1)
		return nil
	})
}

package pool_test

import (
	"bytes"
	"net"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// spoiling breaks what a connection says of sequences, so that a reset fails before it has
// said that a failure is to end the session.
type spoiling struct {
	net.Conn
	on *atomic.Bool
}

func (c spoiling) Write(b []byte) (int, error) {
	if !c.on.Load() {
		return c.Conn.Write(b)
	}
	return c.Conn.Write(bytes.Replace(b, []byte("discard sequences"), []byte("discard sequence!"), 1))
}

// A reset that fails without the end of the session says nothing of what ran behind it: that
// ran, so it is not to be run again, but in a session that was not clean, so its answer is
// nobody's; and nor is the session any more.
func TestAResetThatFailsSoftlyCostsTheConnectionAndNothingRunsTwice(t *testing.T) {
	t.Parallel()
	ctx, dsn := bounded(t), pgtest.Database(t)
	server := newInspector(t, dsn)
	server.exec("create table seen (id int)")
	server.exec("create sequence s")
	var on atomic.Bool
	c := &pool.Config{MaxConns: 1, BeforeConnect: wrapped(func(nc *net.TCPConn) net.Conn { return spoiling{nc, &on} })}
	p := newPoolAt(t, dsn, c)
	asked := func(sql string) (err error) {
		l, err := p.Acquire(ctx)
		require.NoError(t, err)
		_, err = l.Exec(ctx, "select nextval('s')")
		require.NoError(t, err)
		for range 3 { // a look must have said that there is no more to it
			l.Release()
			eventually(t, "it is idle", func() bool { return p.Stat().IdleConns() == 1 })
			l, err = p.Acquire(ctx)
			require.NoError(t, err)
			_, err = l.Exec(ctx, "select nextval('s')")
			require.NoError(t, err)
		}
		on.Store(true)
		defer on.Store(false)
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, err = p.Exec(ctx, sql)
		}()
		eventually(t, "the next user waits", func() bool { return p.Stat().Queued() == 1 })
		l.Release()
		<-done
		return err
	}
	conns := p.Stat().NewConnsCount()
	for i := range 2 {
		err := asked("insert into seen values (1)")
		assert.ErrorContains(t, err, "the session was not reset")
		assert.True(t, pool.OutcomeUnknown(err))
		assert.LessOrEqual(t, server.count("select count(*) from seen"), i+1, "it ran, unless the end of its connection was quicker")
	}
	eventually(t, "the session is nobody's any more", func() bool { return p.Stat().NewConnsCount() > conns })
	_, err := p.Exec(ctx, "select lastval()")
	assert.Error(t, err)
}

package pool_test

import (
	"bytes"
	"net"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/pool"
)

// robbed is a connection that is lost in place of its next answer, if rob is set.
type robbed struct {
	net.Conn
	rob *atomic.Bool
}

func (c robbed) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if bytes.Contains(b[:max(n, 0)], []byte("the answer")) && c.rob.CompareAndSwap(true, false) {
		c.Conn.Close()
		return 0, &net.OpError{Op: "read", Err: syscall.ECONNRESET}
	}
	return n, err
}

// A read whose connection is lost runs again only if it is a read still: what the pool knows of the catalogs is as old as the connection was idle.
func TestWhatHasBegunToWriteDoesNotRunAgain(t *testing.T) {
	t.Parallel()
	rob := new(atomic.Bool)
	b := newAwayLab(t, &pool.Config{MaxConns: 1, BeforeConnect: wrapped(func(nc *net.TCPConn) net.Conn { return robbed{nc, rob} })})
	b.see.exec(`create table ledger (id int); create view shown as select 'the answer'::text as n;
		create function planted() returns text language plpgsql as $$ begin insert into ledger values (1); return 'the answer'; end $$`)
	var n string
	read := func() error { return b.p.QueryRow(bounded(t), "select n from shown").Scan(&n) }
	for range 3 {
		require.NoError(t, read())
	}
	rob.Store(true)
	require.NoError(t, read(), "a read runs again")
	require.EqualValues(t, 1, b.p.Stat().Lanes().Reruns)
	require.NoError(t, read())
	b.see.exec("create or replace view shown as select planted() as n")
	rob.Store(true)
	require.Error(t, read())
	assert.Equal(t, 1, b.see.count("select count(*) from ledger"))
}

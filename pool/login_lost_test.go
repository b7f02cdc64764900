package pool_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// pgx sends a cancel request when it cleans up after a login that was lost, in a goroutine that nobody waits for, though
// nothing can run in a session that never began.
func TestALoginThatWasLostIsNotCancelled(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	proxy := newProxy(t, dsn)
	proxy.Retarget("127.0.0.1:1") // so that it accepts, and hangs up
	p := newPoolAt(t, dsn, &pool.Config{ConnectTimeout: time.Second, Logger: (&logs{}).logger(), BeforeConnect: through(proxy)})
	for range 20 {
		require.Error(t, p.Ping(bounded(t)))
	}
	p.Close()
	assert.EqualValues(t, p.Stat().Dials().Failed, proxy.Accepted(), "a connection for each dial")
}

package pool_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

func TestADialEndsAfterConnectTimeout(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	proxy := newProxy(t, dsn)
	const timeout = 100 * time.Millisecond
	p := newPoolAt(t, dsn, &pool.Config{ConnectTimeout: timeout, BeforeConnect: through(proxy), Logger: (&logs{}).logger()})
	defer proxy.Close()
	proxy.Stall(true) // the server can be connected to, and says nothing
	ctx, cancel := context.WithTimeout(bounded(t), 5*time.Second)
	defer cancel()
	began := time.Now()
	err := p.Ping(ctx)
	assert.Error(t, err)
	assert.NoError(t, ctx.Err(), "it was the caller's time that ended, not the dial's: %v", err)
	assert.GreaterOrEqual(t, time.Since(began), timeout)
}

package pool_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// A backend dies of SIGKILL, and the whole server starts anew: everybody gets an answer
// of his own or an error, nobody waits for ever, and afterwards lanes fly again.
func TestLanesOutliveACrashOfTheServer(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	server, err := pgtest.Start(ctx, pgtest.Options{})
	require.NoError(t, err)
	defer server.Stop()
	p := newPoolAt(t, server.ConnString(), &pool.Config{MaxConns: 2, Logger: (&logs{}).logger()})
	p.NeverSlow()
	var answers, failures atomic.Int64
	crashed, stop := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	for worker := range 32 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				want, got, word := worker*1_000_000+i, 0, ""
				err := p.QueryRow(ctx, "select $1::int, 'x' || $1::int", want).Scan(&got, &word)
				switch {
				case err == nil:
					answers.Add(1)
					if !assert.Equal(t, want, got) || !assert.Equal(t, fmt.Sprint("x", want), word) {
						return
					}
				case ctx.Err() != nil:
					t.Error(err)
					return
				default:
					failures.Add(1)
					var pg *pgconn.PgError
					select {
					case <-crashed:
					default:
						if !errors.As(err, &pg) {
							t.Errorf("before the crash: %v", err)
						}
					}
				}
			}
		})
	}
	until := func(what string, ok func() bool) {
		t.Helper()
		require.Eventually(t, ok, 30*time.Second, 5*time.Millisecond, what)
	}
	until("they ride", func() bool { return p.Stat().Lanes().Rides > 500 })
	for round := range 3 {
		c, err := pgx.Connect(ctx, server.ConnString())
		require.NoError(t, err)
		var pid int
		require.NoError(t, c.QueryRow(ctx, "select pid from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid() limit 1").Scan(&pid))
		if round == 0 {
			close(crashed)
		}
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
		until("the server notices", func() bool { return c.Ping(ctx) != nil })
		_ = c.Close(ctx)
		until("it is back", func() bool {
			c, err := pgx.Connect(ctx, server.ConnString())
			if err == nil {
				_ = c.Close(ctx)
			}
			return err == nil
		})
		rides := p.Stat().Lanes().Rides
		until("they ride again", func() bool { return p.Stat().Lanes().Rides > rides+500 })
	}
	close(stop)
	wg.Wait()
	s := p.Stat()
	t.Logf("%d answers, %d failures, %d rides, %d ran again, %d connections", answers.Load(), failures.Load(), s.Lanes().Rides, s.Lanes().Reruns, s.NewConnsCount())
	until("all is given back", func() bool { return p.Stat().AcquiredConns() == 0 && p.Stat().Queued() == 0 })
}

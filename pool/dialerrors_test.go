package pool_test

import (
	"context"
	"errors"
	"net"
	"net/url"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/internal/tlstest"
	"github.com/lmipool/lmipool/pool"
)

// dialKinds are dials that fail for a reason that no waiting mends, and what their errors say.
func dialKinds(t *testing.T) map[string]struct {
	dsn, says string
	config    pool.Config
} {
	t.Helper()
	hba := "host all postgres all trust\n"
	server, err := pgtest.Start(bounded(t), pgtest.Options{Settings: map[string]string{"hba_file": tlstest.File(t, []byte(hba))}})
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	dsn := server.ConnString()
	at := func(change func(*url.URL)) string { return dsnWith(t, dsn, change) }
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, gone.Close())
	return map[string]struct {
		dsn, says string
		config    pool.Config
	}{
		"AfterConnect": {dsn: dsn, says: "42P01", config: pool.Config{AfterConnect: func(ctx context.Context, c *pgx.Conn) error {
			_, err := c.Exec(ctx, "table nowhere")
			return err
		}}},
		"BeforeConnect":       {dsn: dsn, says: "no secret of that name", config: pool.Config{BeforeConnect: func(context.Context, *pgx.ConnConfig) error { return mend{} }}},
		"no such database":    {dsn: at(func(u *url.URL) { u.Path = "/none" }), says: "3D000"},
		"no entry":            {dsn: at(func(u *url.URL) { u.User = url.User("stranger") }), says: "28000"},
		"TLS to plain server": {dsn: at(func(u *url.URL) { u.RawQuery = "sslmode=verify-full" }), says: "refused TLS"},
		"refused port":        {dsn: at(func(u *url.URL) { u.Host = gone.Addr().String() }), says: "connection refused"},
	}
}

// slowly has each dial take d longer, as across a network, and counts them.
func slowly(d time.Duration, dials *atomic.Int64, before func(context.Context, *pgx.ConnConfig) error) func(context.Context, *pgx.ConnConfig) error {
	return func(ctx context.Context, cc *pgx.ConnConfig) error {
		dials.Add(1)
		if d > 0 {
			time.Sleep(d)
		}
		if before != nil {
			return before(ctx, cc)
		}
		return nil
	}
}

// However many wait, and however long a dial takes: those who wait hear why it failed. The growth rule begins a second
// dial beside one that takes more than 100 ms, so that one of two was always under way, and nobody ever heard.
func TestTheErrorOfADialReachesAllWhoWait(t *testing.T) {
	t.Parallel()
	for name, c := range dialKinds(t) {
		for _, took := range []time.Duration{0, 150 * time.Millisecond} {
			t.Run(name+", "+took.String(), func(t *testing.T) {
				t.Parallel()
				var dials, theirs atomic.Int64
				config := c.config
				config.Logger, config.BeforeConnect = (&logs{}).logger(), slowly(took, &dials, c.config.BeforeConnect)
				p := newPoolAt(t, c.dsn, &config)
				const callers = 3
				done := make(chan error, callers)
				for range callers {
					go func() { _, err := p.Exec(context.Background(), "select 1"); done <- err }()
				}
				for range callers {
					err := ends(t, "the wait", done)
					require.ErrorContains(t, err, c.says)
					assert.NotErrorIs(t, err, context.DeadlineExceeded)
				}
				assert.LessOrEqual(t, dials.Load(), int64(4), "two, and one more for who came after them")

				pc, err := pgxpool.ParseConfig(c.dsn)
				require.NoError(t, err)
				pc.BeforeConnect, pc.AfterConnect = slowly(took, &theirs, c.config.BeforeConnect), c.config.AfterConnect
				px, err := pgxpool.NewWithConfig(t.Context(), pc)
				require.NoError(t, err)
				defer px.Close()
				_, err = px.Exec(bounded(t), "select 1")
				require.ErrorContains(t, err, c.says, "and pgxpool says it")
			})
		}
	}
}

// Callers that try again and again get a dial each, further and further apart.
func TestDialsThatFailBackOff(t *testing.T) {
	t.Parallel()
	var dials atomic.Int64
	p := newPool(t, &pool.Config{Logger: (&logs{}).logger(), BeforeConnect: slowly(0, &dials, func(context.Context, *pgx.ConnConfig) error {
		time.Sleep(500 * time.Microsecond)
		return mend{}
	})})
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var calls atomic.Int64
	done := make(chan error)
	for range 2 {
		go func() {
			var err error
			for ctx.Err() == nil {
				_, err = p.Exec(ctx, "select 1")
				calls.Add(1)
			}
			done <- err
		}()
	}
	for range 2 {
		err := ends(t, "the calls", done)
		require.True(t, pool.Misconfigured(err), "who is out of time hears why there is no connection: %v", err)
	}
	// The rests are 25 to 50 ms, 50 to 100, 100 to 200, and 200 to 400 from then on.
	t.Logf("%d dials for %d calls in 1 s", dials.Load(), calls.Load())
	assert.LessOrEqual(t, dials.Load(), int64(12), "and not 1,300")
	assert.Greater(t, calls.Load(), int64(2))
}

// A statement's name that two clients of a pooler have is an error that comes at once.
func TestNamesThatConflictBehindAPoolerAreNotDialedForAThousandTimesASecond(t *testing.T) {
	t.Parallel()
	dsn := bouncer(t, pgtest.Database(t), "default_pool_size = 1")
	theirs, err := pgx.Connect(bounded(t), dsn)
	require.NoError(t, err)
	defer theirs.Close(bounded(t))
	_, err = theirs.Prepare(bounded(t), "mine", "select 1")
	require.NoError(t, err)
	p := newPoolAt(t, dsn, &pool.Config{Logger: (&logs{}).logger(), AfterConnect: func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Prepare(ctx, "mine", "select 1")
		return err
	}})
	done := make(chan error)
	for range 2 {
		go func() { _, err := p.Exec(context.Background(), "select 1"); done <- err }()
	}
	for range 2 {
		require.ErrorContains(t, ends(t, "the wait", done), "42P05")
	}
	assert.LessOrEqual(t, p.Stat().Dials().Failed, int64(4))
}

// A dial that takes longer than any caller has: each hears of the last one that failed.
func TestWhoIsOutOfTimeHearsWhyThereIsNoConnection(t *testing.T) {
	t.Parallel()
	var hangs atomic.Bool
	release := make(chan struct{})
	p := newPool(t, &pool.Config{Logger: (&logs{}).logger(), BeforeConnect: func(ctx context.Context, _ *pgx.ConnConfig) error {
		if hangs.Load() {
			<-release
		}
		return mend{}
	}})
	_, err := p.Exec(bounded(t), "select 1")
	require.ErrorIs(t, err, mend{})
	hangs.Store(true)
	defer close(release)
	_, err = p.Exec(quick(t), "select 1")
	var acquire *pool.AcquireError
	require.ErrorAs(t, err, &acquire)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, err, mend{})
	assert.Equal(t, misconfigured, next(t, err))
	t.Log(err)
	ctx, cancel := context.WithCancel(bounded(t))
	done := make(chan error)
	go func() { _, err := p.Exec(ctx, "select 1"); done <- err }()
	eventually(t, "it waits", func() bool { return p.Stat().Queued() > 0 })
	cancel()
	err = ends(t, "the wait", done)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, mend{})
}

// While there is a connection nobody is told; when the last one is gone, all are.
func TestWhoWaitsForAConnectionThatIsLostHearsOfTheDial(t *testing.T) {
	t.Parallel()
	var wrong atomic.Bool
	p := newPool(t, &pool.Config{MaxConns: 4, Logger: (&logs{}).logger(), BeforeConnect: func(context.Context, *pgx.ConnConfig) error {
		if wrong.Load() {
			return mend{}
		}
		return nil
	}})
	l, err := p.Acquire(bounded(t))
	require.NoError(t, err)
	wrong.Store(true)
	done := make(chan error, 2)
	for range 2 {
		go func() { _, err := p.Exec(context.Background(), "select 1"); done <- err }()
	}
	eventually(t, "dials fail", func() bool { return p.Stat().Dials().Failed >= 3 })
	assert.Empty(t, done)
	_, err = l.Exec(bounded(t), "select pg_terminate_backend(pg_backend_pid())")
	require.Error(t, err)
	l.Release()
	for range 2 {
		require.ErrorIs(t, ends(t, "the wait", done), mend{})
	}
}

// What was mended is found out within a moment, without an error, by who calls then.
func TestADialThatGoesWellAgainIsNobodysError(t *testing.T) {
	t.Parallel()
	var fails atomic.Int64
	fails.Store(3)
	p := newPool(t, &pool.Config{Logger: (&logs{}).logger(), BeforeConnect: func(context.Context, *pgx.ConnConfig) error {
		if fails.Add(-1) >= 0 {
			return mend{}
		}
		return nil
	}})
	for range 3 {
		require.ErrorIs(t, p.Ping(bounded(t)), mend{})
	}
	require.NoError(t, p.Ping(bounded(t)))
	assert.False(t, strings.Contains(p.String(), "total 0"))
	ctx, cancel := context.WithCancel(bounded(t))
	cancel()
	err := p.Ping(ctx)
	require.ErrorIs(t, err, context.Canceled)
	var ce *pgconn.ConnectError
	assert.False(t, errors.Is(err, mend{}) || errors.As(err, &ce), "that is over")
}

func TestAnAcquireThatTimesOutInTheFirstDialNamesTheServer(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts, and nobody answers
	require.NoError(t, err)
	defer silent.Close()
	hangs := func(ctx context.Context, _ *pgx.ConnConfig) error { <-ctx.Done(); return ctx.Err() }
	for says, before := range map[string]func(context.Context, *pgx.ConnConfig) error{
		"the login at " + silent.Addr().String() + ", which has accepted the connection": nil,
		"an answer from db.example:5432": func(_ context.Context, cc *pgx.ConnConfig) error {
			cc.Host, cc.Port, cc.Fallbacks = "db.example", 5432, nil
			cc.LookupFunc = func(ctx context.Context, _ string) ([]string, error) { <-ctx.Done(); return nil, ctx.Err() }
			return nil
		},
		"BeforeConnect": hangs,
	} {
		p := newPoolAt(t, "postgres://app:hunter2@"+silent.Addr().String()+"/app?sslmode=prefer", &pool.Config{MaxConns: 4, BeforeConnect: before})
		ctx, cancel := context.WithTimeout(bounded(t), time.Second)
		defer cancel()
		_, err := p.Exec(ctx, "select 1")
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Regexp(t, `^lmipool: acquire: waited [\d.]+m?s \(1 of at most 4 connections open or opening, 0 in use, queued 1\): `+
			`context deadline exceeded; there is no connection yet: the dial that began [\d.]+m?s ago waits for `+regexp.QuoteMeta(says)+`$`, err.Error())
		assert.True(t, pool.Retryable(err))
	}
}

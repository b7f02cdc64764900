package pool_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
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

const ownSettings = "select current_user || ' ' || current_setting('search_path') || ' ' || current_setting('statement_timeout') || ' ' || coalesce(current_setting('app.tenant', true), '')"

// A lease of a Bound has its settings for all that runs on it, and the next user of its connection has none of them.
func TestBoundAcquireHasTheSettingsUntilRelease(t *testing.T) {
	t.Parallel()
	for _, plain := range []bool{false, true} {
		b := newTenants(t, pool.Config{MaxConns: 1, Plain: on(plain)})
		ctx := bounded(t)
		none := value(ctx, b, ownSettings)
		for i, me := range []string{"t1", "t2"} {
			l, err := b.With(map[string]string{"app.tenant": me, "search_path": "x", "statement_timeout": "50s", "role": "other_" + b.role}).Acquire(ctx)
			require.NoError(t, err)
			want := "other_" + b.role + " x 50s " + me
			assert.Equal(t, want, value(ctx, l, ownSettings))
			assert.Equal(t, "x", value(ctx, l, "select v from here"))
			assert.Equal(t, me, value(ctx, l, "show app.tenant"))
			tag, err := l.Exec(ctx, "create temp table mine (a int); insert into mine values (1), (2)") // a text of several statements
			require.NoError(t, err)
			assert.EqualValues(t, 2, tag.RowsAffected())
			require.NoError(t, pgx.BeginFunc(ctx, l, func(tx pgx.Tx) error {
				assert.Equal(t, want, value(ctx, tx, ownSettings))
				return nil
			}))
			if i == 1 {
				assert.Equal(t, want, value(ctx, l.Conn(), ownSettings), "by the raw connection")
			}
			var q pgx.Batch
			q.Queue(ownSettings).QueryRow(func(row pgx.Row) error {
				var v string
				assert.NoError(t, row.Scan(&v))
				assert.Equal(t, want, v)
				return nil
			})
			require.NoError(t, l.SendBatch(ctx, &q).Close())
			l.Release()
			l.Release()
			assert.Equal(t, none, value(ctx, b, ownSettings), "of the lease nothing is left")
		}
		if !plain {
			assert.EqualValues(t, 1, b.Stat().NewConnsCount(), "its connection is kept")
		}
	}
}

func TestBoundAcquireFuncReleases(t *testing.T) {
	t.Parallel()
	b := newTenants(t, pool.Config{MaxConns: 1})
	ctx := bounded(t)
	db := b.With(tenant("t1"))
	assert.PanicsWithValue(t, "no", func() {
		_ = db.AcquireFunc(ctx, func(l *pool.Lease) error {
			assert.Equal(t, "t1", value(ctx, l, whoAmI))
			panic("no")
		})
	})
	assert.ErrorIs(t, db.AcquireFunc(ctx, func(*pool.Lease) error { return errRollback }), errRollback)
	assert.ErrorContains(t, db.AcquireFunc(ctx, nil), "the function is nil")
	assert.Empty(t, value(ctx, b, whoAmI))
}

func TestBoundAcquireRefusesWhatALeaseCannotHave(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newTenants(t, pool.Config{MaxConns: 1})
	for says, settings := range map[string]map[string]string{
		`"transaction_read_only" ends with a transaction`: {"transaction_read_only": "on"},
		"no settings": {},
		`invalid value for parameter "statement_timeout": "…"`: {"statement_timeout": "soonish"},
		`role "…" does not exist`:                              {"role": "nobody_at_all"},
	} {
		_, err := b.With(settings).Acquire(ctx)
		require.ErrorContains(t, err, says)
		assert.ErrorContains(t, err, "lmipool: With: ")
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	_, err := b.With(tenant("t1")).Acquire(over)
	require.ErrorIs(t, err, context.Canceled)
	assert.Empty(t, value(ctx, b, whoAmI))
	off := newTenants(t, pool.Config{MaxConns: 1, Isolation: pool.Off})
	_, err = off.With(tenant("t1")).Acquire(ctx)
	require.ErrorContains(t, err, "use Begin, BeginTx or InTx")
	assert.Empty(t, value(ctx, off, whoAmI))
}

// Of the settings called transaction_…, those that are a transaction's own are refused; transaction_timeout, of PostgreSQL 17, is one like others.
func TestBoundAcquireTakesTransactionTimeout(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newTenants(t, pool.Config{MaxConns: 1})
	for _, name := range []string{"transaction_read_only", "transaction_isolation", "transaction_deferrable"} {
		_, err := b.With(map[string]string{name: "on"}).Acquire(ctx)
		require.ErrorContains(t, err, "use BeginTx", name)
	}
	none := value(ctx, b, "select coalesce(current_setting('transaction_timeout', true), '')")
	if none == "" {
		t.Skip("PostgreSQL before 17: LMIPOOL_TEST_PG=17 gets one")
	}
	l, err := b.With(map[string]string{"transaction_timeout": "50s"}).Acquire(ctx)
	require.NoError(t, err)
	assert.Equal(t, "50s", value(ctx, l, "show transaction_timeout"))
	l.Release()
	assert.Equal(t, none, value(ctx, b, "show transaction_timeout"))
}

// Behind a pooler the session is somebody else's at the next transaction: nothing is set in it, with Plain neither, and Begin has the settings.
func TestBoundAcquireBehindAPoolerIsAnError(t *testing.T) {
	t.Parallel()
	for _, plain := range []pool.Switch{pool.Off, pool.On} {
		for _, upstream := range []pool.Upstream{pool.UpstreamPgBouncer, pool.UpstreamAuto} {
			ctx := bounded(t)
			dsn := bouncer(t, pgtest.Database(t), "default_pool_size = 1")
			if plain == pool.On { // it does not recognise a pooler, so pgx must be told to prepare nothing
				dsn += "&default_query_exec_mode=cache_describe"
			}
			p := newPoolAt(t, dsn, &pool.Config{MaxConns: 2, Upstream: upstream, Plain: plain, Logger: (&logs{}).logger()})
			for range 3 {
				_, err := p.With(tenant("t1")).Acquire(ctx)
				require.ErrorContains(t, err, "behind a pooler the session is somebody else's", "plain %s, %s", plain, upstream)
				assert.True(t, pool.Misconfigured(err))
				assert.Empty(t, value(ctx, p, whoAmI), "plain %s, %s", plain, upstream)
				require.NoError(t, pgx.BeginFunc(ctx, p.With(tenant("t1")), func(tx pgx.Tx) error {
					assert.Equal(t, "t1", value(ctx, tx, whoAmI))
					return nil
				}))
				assert.Empty(t, value(ctx, p, whoAmI))
			}
			if plain == pool.On {
				assert.EqualValues(t, 1, p.Stat().NewConnsCount(), "a connection in which nothing was set is kept")
			}
		}
	}
}

// With Plain, Release closes the connection as pgxpool closes one: it counts until it is closed, and BeforeClose and the tracer see it.
func TestBoundAcquireWithPlainIsClosedByPgxpool(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	ctx, see := bounded(t), newInspector(t, dsn)
	var closed atomic.Int32
	released := &releases{}
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1, Plain: pool.On, Tracer: released, BeforeClose: func(*pgx.Conn) { closed.Add(1) }})
	var last uint32
	for i := range int32(3) {
		l, err := p.With(tenant("t1")).Acquire(ctx)
		require.NoError(t, err)
		pid := l.Conn().PgConn().PID()
		assert.NotEqual(t, last, pid, "the connection before is closed")
		last = pid
		l.Release()
		l.Release()
		assert.Empty(t, value(ctx, p, whoAmI))
		assert.Equal(t, i+1, closed.Load(), "MaxConns holds: who comes next waits until it is closed")
		eventually(t, "its backend ends", func() bool {
			return see.count(fmt.Sprintf("select count(*) from pg_stat_activity where pid = %d", pid)) == 0
		})
	}
	assert.EqualValues(t, 6, released.n.Load(), "of 3 leases and 3 queries")
}

// releases counts them.
type releases struct {
	n atomic.Int32
}

func (*releases) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}
func (*releases) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
func (r *releases) TraceRelease(*pgxpool.Pool, pgxpool.TraceReleaseData)          { r.n.Add(1) }

// Tenants at random, each with leases of its own, and with whatever it forgets on them: nobody ever has another's settings.
func TestStormOfTenantsWithLeases(t *testing.T) {
	t.Parallel()
	b := newTenants(t, pool.Config{MaxConns: 3, Logger: (&logs{}).logger()})
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	none := value(ctx, b, ownSettings)
	turns := 60
	if testing.Short() {
		turns = 15
	}
	var wg sync.WaitGroup
	for g := range 16 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 2))
			for range turns {
				if t.Failed() {
					return
				}
				_ = invocation(ctx, b.Pool, func(ctx context.Context) error { b.lease(ctx, t, r, none); return nil })
			}
		})
	}
	wg.Wait()
	b.idle(t)
	assert.Positive(t, b.Stat().Invocations().Resets)
	for range 10 {
		assert.Equal(t, none, value(ctx, b, ownSettings))
	}
}

// lease is what one invocation does with a lease, for a tenant or for nobody. It may forget to release it.
func (b *tenants) lease(ctx context.Context, t *testing.T, r *rand.Rand, none string) {
	if r.IntN(3) == 0 {
		assert.Equal(t, none, value(pool.Alone(ctx), b, ownSettings))
		return
	}
	me := fmt.Sprint("t", r.IntN(20))
	settings := map[string]string{"app.tenant": me}
	want := none + me
	if r.IntN(3) == 0 {
		settings["search_path"], settings["statement_timeout"], settings["role"] = "y", "40s", "other_"+b.role
		want = "other_" + b.role + " y 40s " + me
	}
	if r.IntN(6) == 0 {
		short, cancel := context.WithTimeout(ctx, time.Duration(r.IntN(2000))*time.Microsecond)
		defer cancel()
		if l, err := b.With(settings).Acquire(short); err == nil {
			defer l.Release()
		}
		return
	}
	l, err := b.With(settings).Acquire(ctx)
	if !assert.NoError(t, err) {
		return
	}
	if r.IntN(4) > 0 {
		defer l.Release()
	}
	for range 1 + r.IntN(3) {
		assert.Equal(t, want, value(ctx, l, ownSettings))
	}
	if len(settings) > 1 {
		assert.Equal(t, "y", value(ctx, l, "select v from here"))
	}
	switch r.IntN(8) {
	case 0:
		_, err := l.Exec(ctx, "set app.tenant = 'somebody'; create temp table if not exists here (v text)")
		assert.NoError(t, err)
	case 1:
		_, err := l.Exec(ctx, "select nothing")
		assert.Error(t, err)
	case 2:
		tx, err := l.Begin(ctx)
		assert.NoError(t, err)
		assert.Equal(t, want, value(ctx, tx, ownSettings))
	case 3:
		_, err := l.Query(ctx, "select generate_series(1, 1000)")
		assert.NoError(t, err)
	case 4:
		assert.Equal(t, want, value(ctx, l.Conn(), ownSettings))
	case 5:
		_, err := l.Exec(ctx, "reset all")
		assert.NoError(t, err)
	}
}

// ofThePool are the methods of Pool that Bound has not: they are about all of the pool.
var ofThePool = []string{"Close", "Companion", "Config", "Format", "Holders", "Reset", "SSLMode", "Shutdown", "Stat", "String", "Upstream", "Warm", "WhyOff"}

// testsOwn are those of export_test.go.
var testsOwn = []string{"Fence", "Findings", "IsJudged", "Leaves", "LooksAtOnce", "NeverOld", "NeverSlow", "Places", "SetCeiling", "SignTook", "Slip", "SlowAbove", "Traces"}

func TestABoundHasWhatAPoolHas(t *testing.T) {
	t.Parallel()
	var lacks []string
	p, b := reflect.TypeFor[*pool.Pool](), reflect.TypeFor[*pool.Bound]()
	for i := range p.NumMethod() {
		if name := p.Method(i).Name; !slices.Contains(ofThePool, name) && !slices.Contains(testsOwn, name) {
			if _, ok := b.MethodByName(name); !ok {
				lacks = append(lacks, name)
			}
		}
	}
	assert.Empty(t, lacks)
}

package pool_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// useTwo makes p have two connections, if it may.
func useTwo(ctx context.Context, t *testing.T, p *pool.Pool) {
	t.Helper()
	a, err := p.Acquire(ctx)
	require.NoError(t, err)
	defer a.Release()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if b, err := p.Acquire(ctx); err == nil {
		b.Release()
	}
}

func TestTheRolesLimitIsTheBudget(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	dsn, i := limitedRole(t, 10)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 16})
	require.NoError(t, p.Ping(ctx))
	eventually(t, "the second connection is not lent before a count, and the first one comes to it too", func() bool {
		useTwo(ctx, t, p)
		return p.Stat().Fleet().Polls > 0
	})
	f := p.Stat().Fleet()
	assert.EqualValues(t, 10, f.Budget)
	assert.EqualValues(t, 1, f.Environments)
	assert.EqualValues(t, 0, f.Others)
	assert.GreaterOrEqual(t, f.Share, int32(1))
	assert.LessOrEqual(t, f.Share, int32(5), "a newcomer finds room")
	assert.LessOrEqual(t, i.backends(), int(f.Share))

	p.Slip(20*time.Minute, 0) // a freeze in which the monotonic clock stood still
	assert.EqualValues(t, 1, p.Stat().Fleet().Share, "the count is too old for more")
}

func TestAPoolWithABudgetCountsBeforeAnybodyGetsAConnection(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	dsn, _ := limitedRole(t, -1)
	one := newPoolAt(t, dsn, &pool.Config{MaxConns: 16, FleetBudget: 9})
	assert.Zero(t, one.Stat().Fleet(), "no connection, no count")
	require.NoError(t, one.Ping(ctx))
	f := one.Stat().Fleet()
	assert.EqualValues(t, pool.FleetStat{Budget: 9, Share: f.Share, Environments: 1, Polls: 1}, f)

	require.NoError(t, newPoolAt(t, dsn, &pool.Config{MaxConns: 16, FleetBudget: 9}).Ping(ctx))
	third := newPoolAt(t, dsn, &pool.Config{MaxConns: 16, FleetBudget: 9})
	leave := occupy(t, dsn)
	defer leave()
	require.NoError(t, third.Ping(ctx))
	f = third.Stat().Fleet()
	assert.EqualValues(t, 3, f.Environments, "three pools of a process are three members")
	assert.EqualValues(t, 1, f.Others)
}

// The login role counts, whatever role and search_path the session has, and the session has them afterwards.
func TestACountChangesNothingInTheSession(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	dsn, i := limitedRole(t, 10)
	role := "app_" + i.database()
	i.exec(fmt.Sprintf("create role %s; grant %[1]s to r_%s; create schema evil; grant usage on schema evil to public", role, i.database()))
	t.Cleanup(func() { i.exec("drop role " + role) })
	i.exec("create function evil.count(text) returns bigint language sql as 'select 0::bigint'; create view evil.pg_roles as select 1 as x")
	config := &pool.Config{
		MaxConns: 1, FleetBudget: 8,
		AfterConnect: setup("set role "+role, "set search_path = evil, pg_catalog", "set statement_timeout = '77s'"),
	}
	require.NoError(t, newPoolAt(t, dsn, config).Ping(ctx))
	p := newPoolAt(t, dsn, config)
	for range 3 {
		var is, path, timeout string
		require.NoError(t, p.QueryRow(ctx, "select current_user, current_setting('search_path'), current_setting('statement_timeout')").Scan(&is, &path, &timeout))
		assert.Equal(t, []string{role, "evil, pg_catalog", "77s"}, []string{is, path, timeout})
	}
	f := p.Stat().Fleet()
	assert.EqualValues(t, pool.FleetStat{Budget: 8, Share: f.Share, Environments: 2, Polls: f.Polls}, f)
	assert.NotZero(t, f.Polls)
	assert.EqualValues(t, 1, p.Stat().NewConnsCount())
}

func TestWithoutABudgetOnlyMaxConnsBoundsThePool(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	dsn, _ := limitedRole(t, 10)
	off := newPoolAt(t, dsn, &pool.Config{MaxConns: 2, FleetBudget: -1})
	useTwo(ctx, t, off)
	assert.Zero(t, off.Stat().Fleet())

	p := newPoolAt(t, pgtest.Database(t), &pool.Config{MaxConns: 2})
	useTwo(ctx, t, p)
	f := p.Stat().Fleet()
	f.Polls, f.Missed = 0, 0
	f.Environments, f.Others = 0, 0 // of all tests that use the role
	assert.Zero(t, f)
	assert.EqualValues(t, 2, p.Stat().TotalConns())
}

func TestAFleetWithABudgetHasNoPooler(t *testing.T) {
	t.Parallel()
	_, err := pool.New(context.Background(), nowhere, &pool.Config{FleetBudget: 3, Upstream: pool.UpstreamPgBouncer})
	assert.EqualError(t, err, `lmipool: Config.FleetBudget is 3: want 0, since Upstream is "pgbouncer", whose own connections are what the server counts`)
	_, err = pool.New(context.Background(), nowhere, &pool.Config{FleetBudget: 3, Plain: pool.On})
	assert.EqualError(t, err, `lmipool: Config.FleetBudget is 3: want 0, since Plain is "on", which turns off all that lmipool adds`)
	assert.Equal(t, `Upstream is "pgbouncer", whose own connections are what the server counts`,
		newPoolAt(t, nowhere, &pool.Config{Upstream: pool.UpstreamPgBouncer}).WhyOff("FleetBudget"))

	log := &logs{}
	p := newPoolAt(t, bouncer(t, pgtest.Database(t), "default_pool_size = 3"), &pool.Config{FleetBudget: 3, MaxConns: 8, Logger: log.logger()})
	work(bounded(t), t, p)
	f := p.Stat().Fleet()
	assert.Zero(t, f)
	assert.Equal(t, 1, saidOf(log), "it is said once")
}

// A server that does not answer polls is asked once.
func TestAServerThatRefusesPollsIsNotAskedAgain(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	dsn, i := limitedRole(t, -1)
	i.exec("revoke execute on function pg_catalog.pg_stat_get_activity(integer) from public")
	log := &logs{}
	p := newPoolAt(t, dsn, &pool.Config{FleetBudget: 3, MaxConns: 2, Logger: log.logger()})
	for range 2 {
		useTwo(ctx, t, p)
		assert.EqualValues(t, 2, p.Stat().TotalConns(), "only MaxConns bounds it")
	}
	assert.Zero(t, p.Stat().Fleet())
	assert.Equal(t, 1, saidOf(log))
	assert.Contains(t, p.WhyOff("FleetBudget"), "permission denied for function pg_stat_get_activity")
}

// saidOf is how many lines of log say that the fleet cannot be counted.
func saidOf(log *logs) int {
	return strings.Count(strings.Join(log.lines(), "\n"), "the fleet cannot be counted here, so FleetBudget is off")
}

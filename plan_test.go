package lmipool_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/internal/pgtest"
)

type (
	planInput  = lmipool.PlanInput
	planResult = lmipool.PlanResult
)

var plans = []struct {
	name string
	in   planInput
	out  planResult // its order is MaxConnections, Available, ConnectionLimit, MaxConns, MinConns, Usual, AtMost, Deploying, MaxConnsAlone, MostEnvironments
	err  string
}{
	{"PostgreSQL's defaults", planInput{MaxConnections: 100, MaxEnvironments: 5, Concurrency: 64}, planResult{100, 97, 97, 16, 1, 16, 16, 8, 9, 48}, ""},
	{"the most that fit", planInput{MaxConnections: 100, MaxEnvironments: 48, Concurrency: 64}, planResult{100, 97, 97, 16, 0, 16, 1, 1, 1, 48}, ""},
	{
		"one more",
		planInput{MaxConnections: 100, MaxEnvironments: 49, Concurrency: 64},
		planResult{},
		"lmipool: plan: 2 versions × 49 environments need 99 connections, one for each and one for the next environment, but the role may have 97 (max_connections 100 less 3 reserved less 0 of other clients): " +
			"allow at most 48 environments, or raise max_connections to 102",
	},
	{"r6g.large", planInput{MemoryGiB: 16, OtherClients: 50, MaxEnvironments: 20, Concurrency: 64}, planResult{1661, 1608, 1608, 16, 1, 16, 16, 16, 16, 803}, ""},
	{"1 ACU that pauses", planInput{MemoryGiB: 2, AutoPause: true, MaxEnvironments: 10, Concurrency: 10}, planResult{183, 180, 180, 3, 0, 3, 3, 3, 3, 89}, ""},
	{"128 ACU that pause", planInput{MemoryGiB: 256, AutoPause: true, MaxEnvironments: 100, Concurrency: 64}, planResult{2000, 1997, 1997, 16, 0, 16, 16, 9, 9, 998}, ""},
	{"AWS's most", planInput{MemoryGiB: 256, MaxEnvironments: 300, Environments: 30, Concurrency: 64}, planResult{5000, 4997, 4997, 16, 1, 16, 16, 8, 8, 2498}, ""},
	{"max_connections wins over memory", planInput{MaxConnections: 50, MemoryGiB: 64, MaxEnvironments: 3, Concurrency: 64}, planResult{50, 47, 47, 16, 1, 11, 11, 6, 7, 23}, ""},
	{"alternating users", planInput{MaxConnections: 100, MaxEnvironments: 10, Concurrency: 64, Roles: 2}, planResult{100, 97, 48, 16, 1, 12, 4, 2, 2, 23}, ""},
	{
		"alternating users, too many",
		planInput{MaxConnections: 100, MaxEnvironments: 30, Concurrency: 64, Roles: 2},
		planResult{},
		"lmipool: plan: 2 versions × 30 environments need 61 connections, one for each and one for the next environment, but each role may have 48 (max_connections 100 less 3 reserved less 0 of other clients, for 2 roles): " +
			"allow at most 23 environments, or raise max_connections to 125",
	},
	{"no slot for superusers", planInput{MaxConnections: 50, SuperuserReserved: -1, OtherClients: 10, MaxEnvironments: 12, Versions: 1, Concurrency: 64}, planResult{50, 40, 40, 16, 1, 10, 3, 3, 3, 39}, ""},
	{"all kinds of reserved slots", planInput{MaxConnections: 500, SuperuserReserved: 5, Reserved: 12, OtherClients: 83, MaxEnvironments: 20, Environments: 8, Concurrency: 100}, planResult{500, 400, 400, 25, 1, 25, 19, 9, 10, 199}, ""},
	{"on-demand", planInput{MaxConnections: 300, MaxEnvironments: 100, Concurrency: 1}, planResult{300, 297, 297, 2, 0, 2, 2, 1, 1, 148}, ""},
	{"one environment", planInput{MaxConnections: 10, OtherClients: 5, MaxEnvironments: 1, Versions: 1, Concurrency: 1}, planResult{10, 2, 2, 1, 0, 1, 1, 1, 1, 1}, ""},
	{
		"not even one",
		planInput{MaxConnections: 10, OtherClients: 8, MaxEnvironments: 1, Versions: 1, Concurrency: 1},
		planResult{},
		"lmipool: plan: 1 version × 1 environment need 2 connections, one for each and one for the next environment, but the role may have 0 (max_connections 10 less 3 reserved less 8 of other clients): raise max_connections to 13",
	},
	{
		"more than PostgreSQL can",
		planInput{MaxConnections: 5000, MaxEnvironments: 15000, Versions: 10, Roles: 2, Concurrency: 64},
		planResult{},
		"lmipool: plan: 10 versions × 15000 environments need 150001 connections, one for each and one for the next environment, but each role may have 2498 (max_connections 5000 less 3 reserved less 0 of other clients, for 2 roles): " +
			"allow at most 249 environments",
	},
	{"large environments", planInput{MaxConnections: 5000, Reserved: 10, OtherClients: 200, MaxEnvironments: 500, Environments: 100, Concurrency: 256}, planResult{5000, 4787, 4787, 64, 1, 47, 9, 4, 4, 2393}, ""},
	{
		"nothing", planInput{}, planResult{}, "lmipool: plan: MaxConnections is 0 and MemoryGiB is 0, want what SHOW max_connections says, or at least 1 GiB\n" +
			"lmipool: plan: MaxEnvironments is 0, want 1 to 15000: managed instances have no default maximum, so set MaxExecutionEnvironments of FunctionScalingConfig\n" +
			"lmipool: plan: Concurrency is 0, want 1 to 1600: AWS_LAMBDA_MAX_CONCURRENCY, or 1 on any other Lambda",
	},
	{
		"all wrong",
		planInput{MaxConnections: -1, SuperuserReserved: 1 << 30, Reserved: -2, OtherClients: -3, MaxEnvironments: 2, Environments: 7, Versions: 11, Concurrency: 1601, Roles: -4},
		planResult{},
		"lmipool: plan: MaxConnections is -1, want 1 to 262143\nlmipool: plan: SuperuserReserved is 1073741824, want 0 to 262143\nlmipool: plan: Reserved is -2, want 0 to 262143\nlmipool: plan: OtherClients is -3, want 0 to 262143\n" +
			"lmipool: plan: Environments is 7, want 1 to 2, which is MaxEnvironments\nlmipool: plan: Versions is 11, want 1 to 10\nlmipool: plan: Concurrency is 1601, want 1 to 1600: AWS_LAMBDA_MAX_CONCURRENCY, or 1 on any other Lambda\n" +
			"lmipool: plan: Roles is -4, want 1 to 10",
	},
	{
		"no memory",
		planInput{MemoryGiB: math.NaN(), MaxEnvironments: 1, Concurrency: 1},
		planResult{},
		"lmipool: plan: MaxConnections is 0 and MemoryGiB is NaN, want what SHOW max_connections says, or at least 1 GiB",
	},
}

func TestPlan(t *testing.T) {
	t.Parallel()
	for _, c := range plans {
		out, err := lmipool.Plan(c.in)
		assert.Equal(t, c.out, out, c.name)
		if c.err != "" {
			assert.EqualError(t, err, c.err, c.name)
			continue
		}
		if !assert.NoError(t, err, c.name) {
			continue
		}
		most := c.in.MaxEnvironments * max(c.in.Versions, 2)
		if c.in.Versions == 1 {
			most = c.in.MaxEnvironments
		}
		assert.LessOrEqual(t, (most+1)*out.Deploying, max(out.ConnectionLimit, most+1), "%s: all environments and the next one", c.name)
		assert.LessOrEqual(t, most*out.MaxConnsAlone, out.ConnectionLimit, c.name)
		c.in.MaxEnvironments, c.in.Environments = out.MostEnvironments, 0
		_, err = lmipool.Plan(c.in)
		assert.NoError(t, err, "%s: MostEnvironments fits", c.name)
		c.in.MaxEnvironments++
		_, err = lmipool.Plan(c.in)
		assert.Error(t, err, "%s: one more does not", c.name)
	}
}

// What Plan takes for the default of max_connections is at most what AWS publishes, and what users have seen, and not much less.
func TestPlanKnowsTheDefaultsOfAWS(t *testing.T) {
	t.Parallel()
	for gib, is := range map[float64]int{
		2: 189, 8: 823, 16: 1669, 32: 3360, 64: 5000, // Aurora Serverless v2 with 1, 4, 8, 16 and 32 units
		15.25: 1600, 16.0001: 1722, 32.0001: 3479, // db.r4.large, db.r6g.large, db.r6g.xlarge
		4: 413, 8.0001: 856, 2.0001: 198, // db.t2.medium, db.t2.large, db.t2.small
	} {
		out, err := lmipool.Plan(planInput{MemoryGiB: gib, MaxEnvironments: 1, Concurrency: 1})
		require.NoError(t, err)
		assert.LessOrEqual(t, out.MaxConnections, is, "%v GiB", gib)
		assert.GreaterOrEqual(t, float64(out.MaxConnections), 0.92*float64(is), "%v GiB", gib)
	}
}

// The limits of a plan are set on a real server, and filled: each role to its limit by its environments, and the rest by other clients.
func TestAPlanFitsARealServer(t *testing.T) {
	t.Parallel()
	for _, in := range []planInput{
		{MaxConnections: 40, OtherClients: 5, MaxEnvironments: 5, Concurrency: 64},
		{MaxConnections: 60, SuperuserReserved: 4, OtherClients: 7, MaxEnvironments: 6, Concurrency: 16, Roles: 2},
	} {
		t.Run(fmt.Sprint(in.MaxConnections), func(t *testing.T) {
			t.Parallel()
			fillServer(t, in)
		})
	}
}

func fillServer(t *testing.T, in planInput) {
	t.Helper()
	settings := map[string]string{"max_connections": fmt.Sprint(in.MaxConnections), "max_wal_senders": "0"}
	if in.SuperuserReserved > 0 {
		settings["superuser_reserved_connections"] = fmt.Sprint(in.SuperuserReserved)
	}
	server, err := pgtest.Start(bounded(t), pgtest.Options{Settings: settings})
	require.NoError(t, err)
	t.Cleanup(server.Stop)
	plan, err := lmipool.Plan(in)
	require.NoError(t, err)
	roles := max(1, in.Roles)
	admin, err := pgx.Connect(bounded(t), server.ConnString())
	require.NoError(t, err)
	_, err = admin.Exec(bounded(t), "create role other login")
	require.NoError(t, err)
	for i := range roles {
		_, err = admin.Exec(bounded(t), fmt.Sprintf("create role app%d login connection limit %d", i, plan.ConnectionLimit))
		require.NoError(t, err)
	}
	require.NoError(t, admin.Close(bounded(t)))
	opened, last := 0, (*pgx.Conn)(nil)
	open := func(role string) error {
		conn, err := pgx.Connect(bounded(t), strings.Replace(server.ConnString(), "postgres@", role+"@", 1))
		if err == nil {
			opened, last = opened+1, conn
			t.Cleanup(func() { _ = conn.Close(bounded(t)) })
		}
		return err
	}
	mustOpen := func(role string) { // the server may still close what was open before
		require.EventuallyWithT(t, func(c *assert.CollectT) { require.NoError(c, open(role)) }, 30*time.Second, 10*time.Millisecond, "%s, after %d", role, opened)
	}
	for i := range roles {
		role := fmt.Sprintf("app%d", i)
		all := 2 * in.MaxEnvironments
		for range all * plan.Deploying { // each environment has its share
			mustOpen(role)
		}
		for range plan.ConnectionLimit - all*plan.Deploying { // there is room for the next environment
			mustOpen(role)
		}
		require.Greater(t, plan.ConnectionLimit, all*plan.Deploying)
		refused(t, open(role), "too many connections for role")
	}
	for range in.OtherClients + plan.Available - roles*plan.ConnectionLimit {
		mustOpen("other")
	}
	refused(t, open("other"), "remaining connection slots are reserved")
	assert.Equal(t, in.MaxConnections-max(3, in.SuperuserReserved), opened)
	done := make(chan error, 1)
	go func() {
		_, err := last.Exec(bounded(t), "select pg_sleep(60)")
		done <- err
	}()
	require.Eventually(t, func() bool {
		_ = last.PgConn().CancelRequest(bounded(t)) // the first may come before the statement runs
		return len(done) > 0
	}, 30*time.Second, 50*time.Millisecond)
	require.ErrorContains(t, <-done, "57014", "a cancel needs no slot")
	mustOpen("postgres")
}

// refused checks that err says that the server is full, with text in its message.
func refused(t *testing.T, err error, text string) {
	t.Helper()
	pg := (*pgconn.PgError)(nil)
	require.True(t, errors.As(err, &pg), "%v", err)
	assert.Equal(t, "53300", pg.Code)
	assert.Contains(t, pg.Message, text)
}

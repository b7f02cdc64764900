package pool_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/pool"
)

// nameShown returns what the server shows as the application_name of q's connection, without lmipool/<id>/.
func nameShown(ctx context.Context, t testing.TB, q interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
},
) string {
	t.Helper()
	var name string
	if !assert.NoError(t, q.QueryRow(ctx, "show application_name").Scan(&name)) {
		return ""
	}
	assert.Regexp(t, hasID, name)
	return strings.SplitN(name, "/", 3)[2]
}

func TestTheServerShowsTheRoute(t *testing.T) {
	t.Parallel()
	for _, isolation := range []pool.Switch{pool.Auto, pool.Off} {
		ctx := bounded(t)
		p := newPool(t, &pool.Config{MaxConns: 1, ApplicationName: "mine", Isolation: isolation})
		orders, users := pool.WithRoute(ctx, "orders.get"), pool.WithRoute(ctx, "users'x\nü.get")
		assert.Equal(t, "mine", nameShown(ctx, t, p))
		assert.Equal(t, "orders.get", nameShown(orders, t, p))
		assert.Equal(t, "orders.get", nameShown(orders, t, p))
		assert.Equal(t, "users'x??.get", nameShown(users, t, p))
		assert.Equal(t, "mine", nameShown(pool.WithRoute(orders, ""), t, p))
		assert.Equal(t, "mine", nameShown(ctx, t, p))

		l, err := p.Acquire(orders)
		require.NoError(t, err)
		assert.Equal(t, "orders.get", nameShown(ctx, t, l), "a lease has the route of the ctx that acquired it")
		l.Release()
		tx, err := p.Begin(users)
		require.NoError(t, err)
		assert.Equal(t, "users'x??.get", nameShown(ctx, t, tx))
		require.NoError(t, tx.Rollback(ctx))
		assert.Equal(t, "mine", nameShown(ctx, t, p), "a rollback does not bring the route back")
		require.NoError(t, pool.InTx(orders, p, pool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
			assert.Equal(t, "orders.get", nameShown(orders, t, tx))
			return nil
		}))
		assert.Equal(t, "mine", nameShown(ctx, t, p))
		if isolation == pool.Auto {
			assert.Zero(t, p.Stat().Invocations().Resets, "a route leaves nothing to reset")
			for range 2 {
				_, err = p.Exec(orders, "set application_name = 'his own'")
				require.NoError(t, err)
				assert.Equal(t, "mine", nameShown(ctx, t, p), "what a user has set himself is reset")
			}
			assert.EqualValues(t, 2, p.Stat().Invocations().Resets)
		}
		assert.EqualValues(t, 1, p.Stat().NewConnsCount())
	}
}

// A route is only a name, also where a backslash in a string is an escape. One of a megabyte costs no more than a short one.
func TestARouteIsOnlyAName(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	p := newPool(t, &pool.Config{MaxConns: 1, ApplicationName: "mine", AfterConnect: func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, "set standard_conforming_strings = off")
		return err
	}})
	for _, route := range []string{`\'; create table injected(); --`, `\`, `a'b`, `\\''`} {
		assert.Equal(t, route, nameShown(pool.WithRoute(ctx, route), t, p))
	}
	assert.Regexp(t, "^x+$", nameShown(pool.WithRoute(ctx, strings.Repeat("x", 1<<20)), t, p))
	var none *string
	require.NoError(t, p.QueryRow(ctx, "select to_regclass('injected')::text").Scan(&none))
	assert.Nil(t, none)
}

// A route that nothing was sent for is forgotten.
func TestARouteThatSendsNothingLeavesNothing(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	p := newPool(t, &pool.Config{MaxConns: 1, ApplicationName: "mine"})
	for i := range 100 {
		l, err := p.Acquire(pool.WithRoute(ctx, fmt.Sprint("r", i)))
		require.NoError(t, err)
		l.Release()
		_, err = p.Exec(pool.WithRoute(ctx, fmt.Sprint("r", i)), "select $1::int", "no number") // fails before it is sent
		require.Error(t, err)
	}
	assert.Equal(t, "mine", nameShown(ctx, t, p))
	assert.EqualValues(t, 1, p.Stat().NewConnsCount())
}

// Many callers with routes, without, and with names of their own: each sees its own, whatever rode in between.
func TestStormOfRoutes(t *testing.T) {
	t.Parallel()
	p := newPool(t, &pool.Config{MaxConns: 3, ApplicationName: "mine"})
	_, err := p.Exec(bounded(t), "create table t as select 1 as id")
	require.NoError(t, err)
	var wg sync.WaitGroup
	for g := range 12 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(g), 1))
			for range 100 {
				ctx, want := bounded(t), "mine"
				if rnd.IntN(2) == 0 {
					want = fmt.Sprint("route", rnd.IntN(5))
					ctx = pool.WithRoute(ctx, want)
				}
				switch rnd.IntN(5) {
				case 0:
					_, err := p.Exec(ctx, "set application_name = 'leak'")
					assert.NoError(t, err)
				case 1:
					canceled, cancel := context.WithCancel(ctx)
					cancel()
					_, err := p.Exec(canceled, "select 1")
					assert.Error(t, err)
				case 2:
					var n int
					assert.NoError(t, p.QueryRow(ctx, "select id from t").Scan(&n)) // may ride
				case 3:
					assert.NoError(t, pool.InTx(ctx, p, pool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
						assert.Equal(t, want, nameShown(ctx, t, tx))
						return nil
					}))
				default:
					assert.Equal(t, want, nameShown(ctx, t, p))
				}
			}
		})
	}
	wg.Wait()
}

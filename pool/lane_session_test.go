package pool_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/pool"
)

// What the connection string and AfterConnect have set holds on a lane, and a lease
// finds it as it was, however the guard went on and off.
func TestASessionsSettingsHoldOnLanes(t *testing.T) {
	t.Parallel()
	for _, readOnly := range []string{"off", "on"} {
		t.Run("read only "+readOnly, func(t *testing.T) {
			t.Parallel()
			ctx := bounded(t)
			role := "lane_" + strings.ToLower(rand.Text())
			after := map[string]string{ // as SHOW has them
				"search_path": "app, pg_catalog", "TimeZone": "Asia/Tokyo", "DateStyle": "SQL, DMY", "bytea_output": "escape",
				"statement_timeout": "90ms", "lock_timeout": "3s", "default_transaction_read_only": readOnly, "idle_in_transaction_session_timeout": "0",
				"role": role, "transaction_read_only": readOnly, "extra_float_digits": "-3",
			}
			b := newLaneLab(t, &pool.Config{
				LaneFunctions: []string{"pg_catalog.current_setting", "current_setting"},
				BeforeConnect: func(_ context.Context, c *pgx.ConnConfig) error { // what the connection string sets is the same
					c.RuntimeParams["IntervalStyle"] = "iso_8601"
					return nil
				},
				AfterConnect: func(ctx context.Context, c *pgx.Conn) error {
					for name, v := range after {
						if name == "transaction_read_only" {
							continue // follows
						}
						set := fmt.Sprintf("set %s = '%s'", name, v)
						if name == "search_path" || name == "DateStyle" {
							set = fmt.Sprintf("set %s = %s", name, v)
						}
						if _, err := c.Exec(ctx, set); err != nil {
							return err
						}
					}
					return nil
				},
			})
			want := maps.Clone(after)
			want["IntervalStyle"] = "iso_8601"
			b.exec("create role " + role)
			t.Cleanup(func() { b.exec("drop owned by " + role + "; drop role " + role) })
			b.exec("create schema app; create table app.t as select 'of app' as whose; create table public.t as select 'public' as whose; create table app.w (n int); grant usage on schema app to " + role + "; grant all on all tables in schema app to " + role)
			b.exec("create table app.rows as select unnest(array['" + role + "', 'other']) as owner; alter table app.rows enable row level security; create policy own on app.rows using (owner = current_user); grant select on app.rows to " + role)

			reads := map[string]string{
				"select whose from t":                                                "of app",
				"select '2024-02-01 00:00+00'::timestamptz::text":                    "01/02/2024 09:00:00 JST",
				"select date '2024-02-01'::text":                                     "01/02/2024",
				"select interval '1 day 2 hours'::text":                              "P1DT2H",
				"select pi()::text":                                                  "3.14159265359",
				"select current_user::text":                                          role,
				"select string_agg(owner, ' ') from rows":                            role,
				"select current_setting('statement_timeout')":                        "90ms", // shorter than the guard's
				"select current_setting('search_path')":                              "app, pg_catalog",
				"select current_setting('bytea_output')":                             "escape",
				"select extract(hour from '2024-02-01 00:00+00'::timestamptz)::text": "9",
			}
			for sql := range reads {
				b.teach(ctx, sql)
			}
			unchanged := func() {
				l, err := b.p.Acquire(ctx)
				if !assert.NoError(t, err) {
					return
				}
				defer l.Release()
				got := map[string]string{}
				for name := range want {
					var v string
					assert.NoError(t, l.QueryRow(ctx, "show "+name).Scan(&v))
					got[name] = v
				}
				assert.Equal(t, want, got)
			}
			write := func() {
				_, err := b.p.Exec(ctx, "insert into w values (1)")
				if readOnly == "off" {
					assert.NoError(t, err)
					return
				}
				var pg *pgconn.PgError
				if assert.ErrorAs(t, err, &pg) {
					assert.Equal(t, "25006", pg.Code)
				}
			}
			for round := range 6 {
				var fs []func()
				for i := range 10 {
					for sql, v := range reads {
						fs = append(fs, func() {
							var got string
							if assert.NoError(t, b.p.QueryRow(ctx, sql).Scan(&got), sql) {
								assert.Equal(t, v, got, sql)
							}
						})
					}
					// Leases end a run, early or late. Without any it is long, and the guard of the
					// session goes on.
					if round%2 == 0 && i%(round+1) == 0 {
						fs = append(fs, unchanged, write)
					}
				}
				b.saturate(ctx, fs)
				unchanged()
			}
			s := b.p.Stat()
			t.Log(s.Lanes().Rides, s.Lanes().Flights, s.Lanes().Alone)
			assert.Greater(t, s.Lanes().Rides, int64(100), "%v", s.Lanes().Alone)
			assert.Greater(t, s.Lanes().Flights, int64(8))
			assert.EqualValues(t, 1, s.NewConnsCount())
		})
	}
}

// The session's own statement_timeout is what a rider gets, and his error is pgx's.
func TestASessionsTimeoutIsARidersTimeout(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newLaneLab(t, &pool.Config{LaneFunctions: []string{"pg_sleep"}, AfterConnect: func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, "set statement_timeout = '60ms'")
		return err
	}})
	const sql = "select $2::int from (select pg_sleep($1)) s"
	b.teach(ctx, sql, 0, 0)
	var wg sync.WaitGroup
	release := b.hold(ctx)
	for i := range 6 {
		b.queued(&wg, func() {
			n := 0
			err := b.p.QueryRow(ctx, sql, float64(i%2), i).Scan(&n)
			if i%2 == 0 {
				assert.NoError(t, err)
				assert.Equal(t, i, n)
				return
			}
			var pg *pgconn.PgError
			if assert.ErrorAs(t, err, &pg) {
				assert.Equal(t, "57014", pg.Code)
				assert.Equal(t, "canceling statement due to statement timeout", pg.Message)
			}
		})
	}
	release()
	wg.Wait()
	var v string
	require.NoError(t, b.p.QueryRow(ctx, "show statement_timeout").Scan(&v))
	assert.Equal(t, "60ms", v)
	assert.NotZero(t, b.p.Stat().Lanes().Rides)
}

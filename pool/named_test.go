package pool_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/pool"
)

// A statement that was prepared under a name counts as what it is, not as what its name reads like: if it sets something,
// texts mean something else after it, until that is taken away.
func TestAPreparedStatementCountsByItsTextNotByItsName(t *testing.T) {
	t.Parallel()
	const insert, sets = "insert into t (at) values ($1)", "select set_config('search_path', $1, false)"
	at := time.Date(2024, 5, 6, 15, 4, 5, 0, time.UTC)
	dsn, _ := meaningDatabase(t)
	for way, prepare := range map[string]func(ctx context.Context, tx pgx.Tx, name string) error{
		"tx": func(ctx context.Context, tx pgx.Tx, name string) error {
			_, err := tx.Prepare(ctx, name, sets)
			return err
		},
		"again": func(ctx context.Context, tx pgx.Tx, name string) error {
			if _, err := tx.Prepare(ctx, name, "select $1::text"); err != nil {
				return err
			}
			if err := tx.Conn().Deallocate(ctx, name); err != nil {
				return err
			}
			_, err := tx.Prepare(ctx, name, sets)
			return err
		},
		"raw": func(ctx context.Context, tx pgx.Tx, name string) error {
			_, err := tx.Conn().Prepare(ctx, name, sets)
			return err
		},
	} {
		for _, name := range []string{"lock", "show", "set work_mem = '5MB'", "select 1", "select n from t where n = $1", "savepoint s"} {
			for _, isolation := range []pool.Switch{pool.Auto, pool.Off} {
				at = at.Add(time.Hour) // each case knows its rows by it
				t.Run(string(isolation)+" "+way+" "+name, func(t *testing.T) {
					at := at
					t.Parallel()
					ctx := bounded(t)
					p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1, Isolation: isolation})
					for range 2 { // whatever is found out about a text meanwhile
						require.NoError(t, say(ctx, p, "select n from t where n = $1", "x"))
					}
					tx, err := p.Begin(ctx)
					require.NoError(t, err)
					require.NoError(t, prepare(ctx, tx, name))
					require.NoError(t, say(ctx, tx, name, "a"))
					require.NoError(t, say(ctx, tx, insert, at))
					require.NoError(t, tx.Commit(ctx))
					if isolation == pool.Off {
						require.NoError(t, say(ctx, p, "set search_path = public"))
					}
					require.NoError(t, say(ctx, p, insert, at))
					assert.Equal(t, 1, newInspector(t, dsn).count("select count(*) from public.t where at = '"+at.Format(time.RFC3339)+"'"))
				})
			}
		}
	}
}

package pool_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// PostgreSQL quotes a value that it refuses, whole or in part. Ours do not.
func TestAValueThatTheServerRefusesIsInNoError(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("hunter", 11)
	ctx := bounded(t)
	dsn := pgtest.Database(t)
	for _, plain := range []bool{false, true} {
		p := newPoolAt(t, dsn, &pool.Config{Plain: on(plain), MaxConns: 2, Logger: (&logs{}).logger()})
		for _, of := range []struct{ name, value string }{
			{"work_mem", "hunter2"},
			{"statement_timeout", "hunter2 ms"},
			{"role", "hunter2"},
			{"role", long},
			{"TimeZone", "Hunter/Two"},
			{"TimeZone", "interval 'hunter two'"},
			{"DateStyle", "Hunter, ISO"},
			{"search_path", `a,"hunter`},
			{"enable_seqscan", "hunter2"},
			{"is_superuser", "hunter2"},
			{"client_min_messages", "hunter"},
			{"work_mem", "-7331"},
			{"default_tablespace", "hunter2"},
		} {
			db := p.With(map[string]string{of.name: of.value, "app.tenant": "hunters"})
			refused := 0
			check := func(what string, err error) {
				t.Helper()
				var pg *pgconn.PgError
				if !assert.ErrorAs(t, err, &pg, what) {
					return
				}
				refused++
				shown := fmt.Sprintf("%v %+v %#v", err, *pg, *pg)
				assert.NotRegexp(t, `(?i)hunter|7331`, strings.ReplaceAll(shown, of.name, ""), what)
				assert.NotEmpty(t, pg.Code)
				assert.False(t, pool.OutcomeUnknown(err))
				if refused == 1 && !plain {
					t.Log(pg)
				}
			}
			_, err := db.Exec(ctx, "select 1")
			check("Exec", err)
			_, err = db.Exec(ctx, "create table unwanted ()")
			check("Exec of a command", err)
			check("QueryRow", db.QueryRow(ctx, "select $1::int", 1).Scan(new(int)))
			check("QueryRow of a command", db.QueryRow(ctx, "show work_mem").Scan(new(string)))
			rows, _ := db.Query(ctx, "select 1")
			_, err = pgx.CollectRows(rows, pgx.RowTo[int])
			check("Query", err)
			var q pgx.Batch
			q.Queue("select 1")
			q.Queue("select $1::int", 1)
			check("SendBatch", db.SendBatch(ctx, &q).Close())
			_, err = db.CopyFrom(ctx, pgx.Identifier{"pg_class"}, []string{"oid"}, pgx.CopyFromRows(nil))
			check("CopyFrom", err)
			_, err = db.Begin(ctx)
			check("Begin", err)
			check("InTx", pool.InTx(ctx, db, pool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error { _, err := tx.Exec(ctx, "select 1"); return err }))
			require.Positive(t, refused, of.name)
		}
	}
}

package stdlib_test

import (
	"database/sql"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	pgxstdlib "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/pool"
)

// BenchmarkPoint is one client's read by database/sql, on lmipool and on pgxpool.
func BenchmarkPoint(b *testing.B) {
	l := newLab(b, &pool.Config{MaxConns: 2})
	l.exec("create table items as select id, 'item ' || id as name from generate_series(1, 1000) id; alter table items add primary key (id)")
	px, err := pgxpool.New(b.Context(), l.dsn)
	require.NoError(b, err)
	defer px.Close()
	pgxs := pgxstdlib.OpenDBFromPool(px)
	defer pgxs.Close()
	const read = "select id, name from items where id = $1"
	l.teach(read, 1)
	for name, db := range map[string]*sql.DB{"lmipool": l.db, "pgxpool": pgxs} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var id int
				var item string
				if err := db.QueryRowContext(b.Context(), read, 7).Scan(&id, &item); err != nil || id != 7 {
					b.Fatal(id, err)
				}
			}
		})
	}
}

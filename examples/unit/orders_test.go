package orders_test

import (
	"context"
	"crypto/rand"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/pashagolub/pgxmock/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool"
	orders "github.com/lmipool/lmipool/examples/unit"
)

var _ lmipool.DB = pgxmock.PgxPoolIface(nil)

// The handler on a mock: no database, no pool.
func TestPlaceOnAMock(t *testing.T) {
	t.Parallel()
	db, err := pgxmock.NewPool()
	require.NoError(t, err)
	defer db.Close()
	db.ExpectBegin()
	db.ExpectExec("update stock").WithArgs("book", 2).WillReturnResult(pgxmock.NewResult("UPDATE", 1))
	db.ExpectQuery("insert into orders").WithArgs("book", 2).WillReturnRows(pgxmock.NewRows([]string{"id"}).AddRow(int64(7)))
	db.ExpectCommit() // no Rollback follows

	receipt, err := orders.Place(db)(t.Context(), orders.Order{Item: "book", Count: 2})
	require.NoError(t, err)
	assert.EqualValues(t, 7, receipt.ID)
	assert.NoError(t, db.ExpectationsWereMet())
}

func TestSoldOutOnAMock(t *testing.T) {
	t.Parallel()
	db, err := pgxmock.NewPool()
	require.NoError(t, err)
	defer db.Close()
	db.ExpectBegin()
	db.ExpectExec("update stock").WithArgs("book", 2).WillReturnResult(pgxmock.NewResult("UPDATE", 0))
	db.ExpectRollback()

	_, err = orders.Place(db)(t.Context(), orders.Order{Item: "book", Count: 2})
	assert.ErrorIs(t, err, orders.ErrSoldOut)
	assert.NoError(t, db.ExpectationsWereMet())
}

// After a deadlock the transaction runs again, since MaxRetries allows it. A transaction
// that is to be serializable begins with these options.
func TestADeadlockOnAMockIsTriedAgain(t *testing.T) {
	t.Parallel()
	db, err := pgxmock.NewPool()
	require.NoError(t, err)
	defer db.Close()
	db.ExpectBegin()
	db.ExpectExec("update stock").WithArgs("book", 2).WillReturnError(&pgconn.PgError{Code: "40P01"})
	db.ExpectRollback()
	db.ExpectBegin()
	db.ExpectExec("update stock").WithArgs("book", 2).WillReturnResult(pgxmock.NewResult("UPDATE", 1))
	db.ExpectQuery("insert into orders").WithArgs("book", 2).WillReturnRows(pgxmock.NewRows([]string{"id"}).AddRow(int64(8)))
	db.ExpectCommit()
	receipt, err := orders.Place(db)(t.Context(), orders.Order{Item: "book", Count: 2})
	require.NoError(t, err)
	assert.EqualValues(t, 8, receipt.ID)
	assert.NoError(t, db.ExpectationsWereMet())

	serializable := pgx.TxOptions{IsoLevel: pgx.Serializable}
	db.ExpectBeginTx(serializable)
	db.ExpectCommit()
	require.NoError(t, lmipool.InTx(t.Context(), db, lmipool.TxOptions{TxOptions: serializable}, func(context.Context, pgx.Tx) error { return nil }))
	assert.NoError(t, db.ExpectationsWereMet())
}

// The same handler runs on a plain *pgxpool.Pool: one line changes to leave lmipool.
func TestPlaceOnPgxpool(t *testing.T) {
	t.Parallel()
	db, err := pgxpool.NewWithConfig(t.Context(), database(t))
	require.NoError(t, err)
	defer db.Close()
	place(t, db)
}

// The same handler runs on lmipool's pool.
func TestPlaceOnLmipool(t *testing.T) {
	t.Parallel()
	db, err := lmipool.OpenConfig(t.Context(), database(t), nil)
	require.NoError(t, err)
	defer db.Close()
	place(t, db)
}

func place(t *testing.T, db lmipool.DB) {
	handler := orders.Place(db)
	receipt, err := handler(t.Context(), orders.Order{Item: "book", Count: 2})
	require.NoError(t, err)
	assert.EqualValues(t, 1, receipt.ID)
	_, err = handler(t.Context(), orders.Order{Item: "book", Count: 2})
	assert.ErrorIs(t, err, orders.ErrSoldOut)
}

// database makes a schema with the handler's tables in the database that DATABASE_URL names, and returns a configuration that uses it. The schema is
// dropped when the test ends.
func database(t *testing.T) *pgxpool.Config {
	dsn := os.Getenv("DATABASE_URL")
	if dsn == "" {
		t.Skip("DATABASE_URL is not set: it names a PostgreSQL database in which this test may create a schema")
	}
	ctx := context.Background()
	schema := "orders_" + strings.ToLower(rand.Text())
	cfg, err := pgxpool.ParseConfig(dsn)
	require.NoError(t, err)
	cfg.ConnConfig.RuntimeParams["search_path"] = schema
	c, err := pgx.ConnectConfig(ctx, cfg.ConnConfig)
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := c.Exec(ctx, "drop schema "+schema+" cascade")
		assert.NoError(t, err)
		assert.NoError(t, c.Close(ctx))
	})
	_, err = c.Exec(ctx, "create schema "+schema+`;
		create table stock (item text primary key, count int not null);
		create table orders (id bigserial primary key, item text not null, count int not null);
		insert into stock values ('book', 3)`)
	require.NoError(t, err)
	return cfg
}

package orders_test

import (
	"context"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/pashagolub/pgxmock/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool"
	orders "github.com/lmipool/lmipool/examples/unit"
	"github.com/lmipool/lmipool/internal/pgtest"
)

var _ lmipool.DB = pgxmock.PgxPoolIface(nil)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// The handler on a mock: no database, no pool.
func TestPlaceOnAMock(t *testing.T) {
	t.Parallel()
	db, err := pgxmock.NewPool()
	require.NoError(t, err)
	defer db.Close()
	db.ExpectBegin()
	db.ExpectExec("update stock").WithArgs("book", 2).WillReturnResult(pgxmock.NewResult("UPDATE", 1))
	db.ExpectQuery("insert into orders").WithArgs("book", 2).WillReturnRows(pgxmock.NewRows([]string{"id"}).AddRow(int64(7)))
	db.ExpectCommit() // and no Rollback behind it

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

// A deadlock is tried again, since MaxRetries allows it; a serializable transaction is
// one by its options.
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

// The same handler on a plain *pgxpool.Pool: leaving lmipool is one line.
func TestPlaceOnPgxpool(t *testing.T) {
	t.Parallel()
	db, err := pgxpool.New(t.Context(), schema(t))
	require.NoError(t, err)
	defer db.Close()
	place(t, db)
}

// And on lmipool's pool.
func TestPlaceOnLmipool(t *testing.T) {
	t.Parallel()
	db, err := lmipool.Open(t.Context(), schema(t), nil)
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

func schema(t *testing.T) (dsn string) {
	dsn = pgtest.Database(t)
	c, err := pgx.Connect(context.Background(), dsn)
	require.NoError(t, err)
	defer c.Close(context.Background())
	_, err = c.Exec(context.Background(), `
		create table stock (item text primary key, count int not null);
		create table orders (id bigserial primary key, item text not null, count int not null);
		insert into stock values ('book', 3)`)
	require.NoError(t, err)
	return dsn
}

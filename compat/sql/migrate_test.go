package sql

import (
	"testing"

	"github.com/golang-migrate/migrate/v4"
	"github.com/golang-migrate/migrate/v4/database"
	pgxmigrate "github.com/golang-migrate/migrate/v4/database/pgx/v5"
	"github.com/golang-migrate/migrate/v4/database/postgres"
	dt "github.com/golang-migrate/migrate/v4/database/testing"
	_ "github.com/golang-migrate/migrate/v4/source/file"
	"github.com/stretchr/testify/require"
)

// drivers are golang-migrate's two drivers for PostgreSQL. The first asserts pgx's errors, the second lib/pq's.
var drivers = map[string]func(t *testing.T) database.Driver{
	"pgx": func(t *testing.T) database.Driver {
		d, err := pgxmigrate.WithInstance(open(t), &pgxmigrate.Config{})
		return closed(t, d, err)
	},
	"pgx in several statements": func(t *testing.T) database.Driver {
		d, err := pgxmigrate.WithInstance(open(t), &pgxmigrate.Config{MultiStatementEnabled: true})
		return closed(t, d, err)
	},
	"lib/pq": func(t *testing.T) database.Driver {
		d, err := postgres.WithInstance(open(t), &postgres.Config{})
		return closed(t, d, err)
	},
}

// closed returns d, which was made with err, and closes it at the test's end.
func closed(t *testing.T, d database.Driver, err error) database.Driver {
	t.Helper()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

// golang-migrate has these functions for its drivers' tests.
func TestGolangMigrate(t *testing.T) {
	t.Parallel()
	for name, driver := range drivers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			t.Run("Test", func(t *testing.T) { dt.Test(t, driver(t), []byte("select 1")) })
			t.Run("TestMigrate", func(t *testing.T) {
				d := driver(t)
				m, err := migrate.NewWithDatabaseInstance("file://"+moduleDir(t, "github.com/golang-migrate/migrate/v4")+"/database/postgres/examples/migrations", "", d)
				require.NoError(t, err)
				dt.TestMigrate(t, m)
			})
		})
	}
}

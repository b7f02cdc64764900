// Command migrate migrates the database with golang-migrate, on lmipool's connections. Run it before the function's new version is published, and
// not in the function itself: a migration may take longer than an invocation, and each environment would try it.
package main

import (
	"context"
	"embed"
	"errors"
	"log"

	"github.com/golang-migrate/migrate/v4"
	pgxmigrate "github.com/golang-migrate/migrate/v4/database/pgx/v5"
	"github.com/golang-migrate/migrate/v4/source/iofs"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/stdlib"
)

//go:embed migrations
var files embed.FS

// Migrate applies the migrations that are missing, and returns the version that the database has then.
func Migrate(db *lmipool.Pool) (version uint, err error) {
	source, err := iofs.New(files, "migrations")
	if err != nil {
		return 0, err
	}
	// golang-migrate keeps one *sql.Conn, with its lock, until Close.
	driver, err := pgxmigrate.WithInstance(stdlib.OpenDB(db), &pgxmigrate.Config{})
	if err != nil {
		return 0, err
	}
	m, err := migrate.NewWithInstance("iofs", source, "pgx5", driver)
	if err != nil {
		return 0, errors.Join(err, driver.Close())
	}
	defer func() {
		fromSource, fromDatabase := m.Close() // also closes the *sql.DB, and leaves db open
		err = errors.Join(err, fromSource, fromDatabase)
	}()
	if err := m.Up(); err != nil && !errors.Is(err, migrate.ErrNoChange) {
		return 0, err
	}
	version, _, err = m.Version()
	return version, err
}

func main() {
	db, err := lmipool.Open(context.Background(), "", &lmipool.Config{MaxConns: 2})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	version, err := Migrate(db)
	if err != nil {
		log.Fatal(err) //nolint:gocritic // the end of the process closes the connections
	}
	log.Printf("the database has version %d", version)
}

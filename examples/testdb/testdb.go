// Package testdb gives each test of the examples a schema of its own.
package testdb

import (
	"context"
	"crypto/rand"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool"
)

// Open opens lmipool's pool on a new schema in the database that DATABASE_URL names, and runs statements there. The schema is dropped when the test
// ends, and the pool is closed. config may be nil.
func Open(t testing.TB, config *lmipool.Config, statements ...string) *lmipool.Pool {
	t.Helper()
	dsn := os.Getenv("DATABASE_URL")
	if dsn == "" {
		t.Skip("DATABASE_URL is not set: it names a PostgreSQL database in which this test may create a schema")
	}
	cfg, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	schema := "example_" + strings.ToLower(rand.Text())
	cfg.ConnConfig.RuntimeParams["search_path"] = schema
	db, err := lmipool.OpenConfig(t.Context(), cfg, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, err := db.Exec(context.Background(), "drop schema "+schema+" cascade")
		if db.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, sql := range append([]string{"create schema " + schema}, statements...) {
		if _, err := db.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	return db
}

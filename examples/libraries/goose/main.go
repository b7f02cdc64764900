// Command goose migrates the database with goose, on lmipool's connections. Run it before the function's new version is published, and not in the
// function itself: a migration may take longer than an invocation, and each environment would try it.
package main

import (
	"context"
	"embed"
	"io/fs"
	"log"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/stdlib"
)

//go:embed migrations
var files embed.FS

// Migrate applies the migrations that are missing, and returns how many those were.
func Migrate(ctx context.Context, db *lmipool.Pool) (int, error) {
	migrations, err := fs.Sub(files, "migrations")
	if err != nil {
		return 0, err
	}
	// The lock belongs to a session. goose takes it on a *sql.Conn, which keeps one connection until it is closed. So two deployments at once wait
	// for each other. The migrations run on other connections, so MaxConns must be 2 or more.
	session, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return 0, err
	}
	sqlDB := stdlib.OpenDB(db)
	defer sqlDB.Close() // leaves db open
	p, err := goose.NewProvider(goose.DialectPostgres, sqlDB, migrations, goose.WithSessionLocker(session))
	if err != nil {
		return 0, err
	}
	done, err := p.Up(ctx)
	return len(done), err
}

func main() {
	ctx := context.Background()
	db, err := lmipool.Open(ctx, "", &lmipool.Config{MaxConns: 2})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	n, err := Migrate(ctx, db)
	if err != nil {
		log.Fatal(err) //nolint:gocritic // the end of the process closes the connections
	}
	log.Printf("%d migrations applied", n)
}

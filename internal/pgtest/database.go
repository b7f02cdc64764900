package pgtest

import (
	"context"
	"crypto/rand"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// shared is the one server of this test process, if any test has asked for it.
var shared struct {
	sync.Mutex
	server *Server
	err    error // of the one attempt to start it: if it failed once, it fails quickly ever after
}

// Database creates a database for this test alone, on the server that all tests of the process share or, if it is set,
// on the one that LMIPOOL_TEST_DSN names, and returns its connection string. The database is dropped when the test and
// its subtests end, together with the connections that are still open to it.
//
// The name of the database is random; the user is the server's superuser, or that of LMIPOOL_TEST_DSN. A test that
// cannot have its database fails.
func Database(tb testing.TB) string {
	tb.Helper()
	dsn, err := sharedDSN()
	if err != nil {
		tb.Fatal(err)
	}
	name := "test_" + strings.ToLower(rand.Text())
	// template0, because no one can be connected to it: CREATE DATABASE fails if its template is in use.
	if err := execute(dsn, "create database "+name+" template template0"); err != nil {
		tb.Fatalf("pgtest: create database: %v", err)
	}
	tb.Cleanup(func() {
		if err := execute(dsn, "drop database if exists "+name+" with (force)"); err != nil {
			tb.Errorf("pgtest: drop database: %v", err)
		}
	})
	return withDatabase(dsn, name)
}

// Main runs the tests, stops the shared server, and returns the exit code for os.Exit.
//
// A test binary without it leaves no server behind either (the kernel sees to it), but a directory, until the next
// server starts.
func Main(m *testing.M) int {
	defer stopShared()
	return m.Run()
}

func sharedDSN() (string, error) {
	if dsn := os.Getenv("LMIPOOL_TEST_DSN"); dsn != "" {
		return dsn, nil
	}
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil && shared.err == nil {
		// Not the first test's context: the server is for all. The bound leaves room for fetching one.
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		shared.server, shared.err = Start(ctx, Options{Version: os.Getenv("LMIPOOL_TEST_PG")})
	}
	if shared.err != nil {
		return "", shared.err
	}
	return shared.server.ConnString(), nil
}

func stopShared() {
	shared.Lock()
	defer shared.Unlock()
	if shared.server != nil {
		shared.server.Stop()
		shared.server = nil
	}
	shared.err = nil
}

// execute runs one statement on a connection of its own. Not under the test's context, which has ended in a Cleanup.
func execute(dsn, sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, sql)
	return err
}

// withDatabase returns dsn, in either of its two forms, with another database.
func withDatabase(dsn, name string) string {
	if u, err := url.Parse(dsn); err == nil && strings.HasPrefix(u.Scheme, "postgres") {
		u.Path = "/" + name
		return u.String()
	}
	return dsn + " dbname=" + name // the last of several wins
}

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
	err    error // of the one attempt to start it: after a failure no test tries again
}

// Database creates a database for this test alone, and returns its connection string. It is on the server that
// LMIPOOL_TEST_DSN names or, if that is not set, on the one that all tests of the process share. When the test and its
// subtests have ended, the database is dropped and connections that are still open to it are closed.
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
	// CREATE DATABASE fails if somebody is connected to its template, and nobody can connect to template0.
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
// A test binary that does not call Main leaves no server behind either, since the kernel ends that. But the server's
// directory stays until the next server starts.
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
		// The first test's context would not do, since all tests use the server. The bound leaves time to fetch one.
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

// execute runs one statement on a connection of its own. It does not use the test's context, which has ended in a Cleanup.
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
	return dsn + " dbname=" + name // if dbname is there twice, the last one counts
}

// Package pgtest gives a test a real PostgreSQL of its own: started in about a second, also as root, and gone when the
// process that started it is gone, even by kill -9.
//
// Most tests want a database, not a server:
//
//	func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
//
//	func TestSomething(t *testing.T) {
//		conn, err := pgx.Connect(t.Context(), pgtest.Database(t))
//		...
//	}
//
// All databases of one test process are on one shared server, which the first call of Database starts. A test that stops
// its server, or needs other settings or another major version, starts one for itself with [Start].
//
// Three environment variables choose what the tests run against: LMIPOOL_TEST_DSN names a server that runs already, and
// LMIPOOL_TEST_PG the major version of the shared server, "14" to "18" (only [Database] follows these two);
// LMIPOOL_PG_BIN names a directory that holds postgres and initdb.
//
// # Leak checks
//
// One goroutine lives as long as a server does. With goleak, check after [Main] has returned, when the shared server
// and its goroutine are gone:
//
//	code := pgtest.Main(m)
//	if err := goleak.Find(); code == 0 && err != nil { ... }
//
// For a check while a server runs, give goleak.IgnoreAnyFunction this function, which the goroutine always has in its
// stack: github.com/lmipool/lmipool/internal/child.(*Process).hold
package pgtest

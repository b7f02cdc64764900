// Package lmipool lets the many concurrent invocations of one AWS Lambda Managed
// Instances environment share a handful of PostgreSQL connections, in process:
// no sidecar, no proxy.
//
//	func main() {
//		ctx := context.Background()
//		db, err := lmipool.Open(ctx, "", nil) // DATABASE_URL, or the PG* variables
//		if err != nil {
//			log.Fatal(err)
//		}
//		lambda.Start(lmipool.Handler(db, func(ctx context.Context, in Order) (Receipt, error) {
//			var r Receipt
//			err := db.QueryRow(ctx, "select total from receipts where id = $1", in.ID).Scan(&r.Total)
//			return r, err
//		}))
//	}
//
// [Open] detects what runs the process, and makes one pool whose MaxConns fits its concurrency. [Handler] gives each invocation a scope: when the
// invocation ends, the scope takes back each connection that the invocation did not give back. [DB] is the interface that the pool, a plain
// *pgxpool.Pool and pgxmock's pool have in common, so that a test can call a handler with a mock.
//
// # Packages
//
//   - stdlib gives a pool's connections to code that wants a *sql.DB.
//   - iam logs in to RDS and Aurora with the function's role in place of a password.
//   - emf writes metrics in CloudWatch's format. The module lmipool/otel gives OpenTelemetry metrics and spans.
//   - status shows a pool's live numbers on a web page, for local runs.
//   - observe has the events of a pool, for observers of your own.
//   - lmitest runs a handler at the concurrency of a managed instance, in a test or, with its command lmirun, by hand. Its Check fails a test for leaks.
//   - cmd/lmiplan prints what to configure so that all environments fit their database. [Plan] is the same as a function.
//   - pool has the pool itself, with pgxpool's method set. It can be used without Lambda.
//   - lambdaenv detects what runs the process.
//
// The directory docs has a page for each subject, and docs/observing.md says where to look when something is wrong. DESIGN.md says how lmipool works, and why.
package lmipool

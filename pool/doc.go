// Package pool lets many goroutines share a few PostgreSQL connections, and
// takes back what a finished invocation left behind.
//
// It stands on a real [pgxpool.Pool], which opens and closes connections, and
// decides itself who uses them and how many there are. The method set is
// pgxpool's; the differences are:
//
//   - A connection that comes free goes to whoever has waited longest, and a
//     new one is dialed only when waiting is dearer than dialing, at most two
//     at once: a burst of short statements does not become a burst of
//     connections. See [Config.MaxConns].
//   - [Pool.QueryRow] reads its row and frees the connection before it
//     returns, so a forgotten Scan loses nothing.
//   - Everything that is acquired with a ctx from [Pool.OpenScope] comes back
//     when the [Scope] ends, whatever the invocation forgot, and can no longer
//     be used from there ([ErrInvocationEnded]).
//   - An error of Acquire says who holds the connections ([AcquireError]).
//
// The package knows nothing of AWS Lambda. Package lmipool, one level up, turns
// Lambda's environment into a [Config] and invocations into scopes.
//
// A [Pool] is safe for concurrent use. A [Lease], and the Rows, Tx and
// BatchResults that come from it, belong to one goroutine at a time, as in pgx.
package pool

// Package pool lets many goroutines share a few PostgreSQL connections, and takes back what a finished invocation left behind.
//
// It uses a real [pgxpool.Pool] to open and close connections, and decides itself how many there are and who gets them. It differs from pgxpool:
//
//   - A connection that comes free goes to the caller that has waited longest. A new one is dialed only when waiting costs more than dialing, at most two
//     at once, so that a burst of short statements does not become a burst of connections. See [Config.MaxConns].
//   - [Pool.QueryRow] reads its row and frees the connection before it returns, so a forgotten Scan holds no connection.
//   - Everything that is acquired with a ctx from [Pool.OpenScope] is taken back when the [Scope] ends, even if the invocation forgot it, and cannot
//     be used after that ([ErrInvocationEnded]).
//   - An error of Acquire says who holds the connections ([AcquireError]).
//
// The package knows nothing of AWS Lambda. Package lmipool, one level up, turns Lambda's environment into a [Config] and invocations into scopes.
//
// A [Pool] is safe for concurrent use. A [Lease], and the Rows, Tx and BatchResults that come from it, belong to one goroutine at a time, as in pgx.
package pool

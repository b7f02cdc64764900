// Package pgcancel is what the end of a ctx does to the statement that runs under it: one connection's cancel protocol, and how many cancel
// connections there are at once.
//
// Words. A request asks the server, on a cancel connection of its own, to stop what a connection runs. A statement is settled when no request for it
// can arrive any more. A connection is given up if that cannot be made sure.
//
// When the ctx of a statement ends, the server is asked in the background to stop it, and asked again while there is no answer, since a request
// that arrives between two messages does nothing. The caller returns with the server's answer (57014 and the ctx's error, or the result if that
// was quicker), after Options.Wait at the latest; then the connection is lost. BEGIN, COMMIT and ROLLBACK are not cancelled
// ([Canceler.Uncancelable]), nor is what the owner sends in front of a statement ([Canceler.Opened]). Hooks and the raw connection get pgx's own
// way ([Canceler.AsPgx]). No timeout is set on the server, because that costs something for each statement.
//
// # Invariants
//
//   - Nothing else is sent on a connection before [Canceler.Settle] has returned true. PostgreSQL signals the backend before it closes the cancel
//     connection, so the end of that is waited for. Then an empty query absorbs a request that a pooler may pass on late. If the end of the
//     cancel connection is not seen, the connection is closed.
//   - At most 8 cancel connections are open at once, or as many as the pool has connections if that is less, those of closing connections included.
//     When the pool closes, each connection that is cut off has its own at once.
//   - A login that is lost is not cancelled: pgx would dial once more for it, and nothing runs in a session that has not begun.
package pgcancel

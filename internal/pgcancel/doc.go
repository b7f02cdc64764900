// Package pgcancel decides what happens to a running statement when its ctx ends. It has the cancel protocol, and bounds cancel connections.
//
// Words. A request asks the server, on a cancel connection of its own, to stop what a connection runs. A statement is settled when no request for it
// can reach the server any more. A connection is given up if its last statement cannot be settled.
//
// When the ctx of a statement ends, the server is asked in the background to stop the statement. It is asked again while there is no answer, since a
// request that arrives between two messages does nothing. The caller returns with the server's answer: 57014 and the ctx's error, or the result if
// that was quicker. If there is no answer within Options.Wait, the caller returns and the connection is lost. BEGIN, COMMIT and ROLLBACK are not
// cancelled ([Canceler.Uncancelable]), nor is what the pool sends in front of a statement ([Canceler.Opened]). Hooks and the raw connection get pgx's
// own way ([Canceler.AsPgx]). No timeout is set on the server, because that would cost time for each statement.
//
// # Invariants
//
//   - Nothing else is sent on a connection before [Canceler.Settle] has returned true. PostgreSQL signals the backend before it closes the cancel
//     connection, so Settle waits for the end of the cancel connection. Then an empty query absorbs a request that a pooler may pass on late. If the
//     end of the cancel connection is not seen, the connection is closed.
//   - At most 8 cancel connections are open at once, and no more than the pool may have connections. Those that pgx opens when it closes a connection
//     count too. Only when the pool closes, each connection that is cut off gets a cancel connection at once.
//   - A login that is lost is not cancelled: pgx would dial once more for that, and nothing runs in a session that has not begun.
package pgcancel

// Package lane has reads of several callers share a connection as one pipeline, each in a transaction of its own: a group commit for reads, without a
// timer, since pipelining appears only where a pool would have made them wait. It knows no lease and no pool: it gets a connection and a scheduler.
//
// A [Ride] is a read on its way, made in its caller's goroutine, where its arguments are encoded and its rows decoded. A [Lane] is what a connection has
// for them: a guard, and statements under names of its own. A [Flight] carries group after group, as long as package sched has one. A segment is what
// is sent of one ride, up to its own Sync, so that it has its own snapshot and its own error: its settings, the guard, Parse if need be, Execute.
//
// The next group boards when those who were just answered have gone on: most of them ask again at once, and all that they need for it is a CPU, which
// runtime.Gosched does not give them for sure. Who comes a moment late waits for the whole of another group.
//
// The guard is the second line of defence, behind the choice of who rides (package catalog). Until the session guard's own reply was read, each segment
// brings the local one along: segments do not depend on each other. It is worth its round trip from the second group on, and comes off with the last.
// What it stops had no effect. A setting of it that changes without us is the end of the connection.
//
// A rider gets the answer that pgx would give him, or runs again, alone: what the statement takes and returns here is compared with what his arguments
// were encoded for before any row is handed out, the Go types of the connection by their contents. An error is his own only if it cannot come of
// something that was altered since the statement was Parsed. A result that is too large is dropped, so that no reader holds others up.
//
// Who leaves before he is sent is not sent: one atomic decides. What was sent is read and dropped; a cancel request would hit a neighbour. If the
// connection is lost, all without an answer run again, each alone: one of them may be what has killed the backend.
//
// Whether what says that they may ride still holds is asked behind the last of a group, or in front of it after a pause. Behind a pooler nothing is
// prepared or set: each segment is unnamed, and its guard local.
package lane

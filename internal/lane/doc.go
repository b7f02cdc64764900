// Package lane sends reads of several callers through one connection as one pipeline, each read in a transaction of its own. This is a group commit
// for reads. It needs no timer, because reads are pipelined only where a pool would have made them wait for a connection. The package knows neither
// leases nor the pool: it is given a connection and a scheduler.
//
// A [Ride] is one read. Its caller's goroutine makes it, encodes its arguments and decodes its rows. A [Lane] is the part of a connection that rides
// use: a guard, and statements that are prepared under names of the lane's own. A [Flight] carries groups of rides, one after the other, as long as
// package sched has another group. A segment has all messages for one ride: its settings, the guard, Parse if needed, Execute, and a Sync. The Sync
// gives each ride its own snapshot and its own error.
//
// The next group boards after the callers who were just answered have had time to ask again, as most of them do at once. Package sched waits for
// them, because runtime.Gosched does not make sure that they get a CPU. A caller who asks a moment too late has to wait for the whole next group.
//
// The guard is the second protection. The first is the choice of the statements that may ride (package catalog). The session guard is set once and holds
// for all later groups, until it is taken off after the last group. Until the server's reply to the session guard was read, each segment has a local
// guard too, so that no segment depends on another. A statement that the guard stops had no effect. If a setting of the guard changes and the lane has
// not changed it, the connection is closed.
//
// A rider gets the answer that pgx would give him, or his statement runs again, alone. Before any row is handed out, the statement's parameters and
// columns on this connection are compared with those for which his arguments were encoded, and the Go types of both connections are compared by their
// contents. A rider gets an error only if no change since the statement was Parsed can have caused the error. If the connection is lost, each ride
// without an answer runs again, alone, since one of them may have killed the backend.
//
// If a caller leaves after his ride was sent, its answer is read and dropped: a cancel request could stop a neighbour's statement.
//
// Facts about the server's catalogs say what may ride. From time to time the last segment of a group asks the server whether these facts still hold.
// Behind a pooler nothing is prepared or set in the session: each segment uses the unnamed statement and a local guard.
package lane

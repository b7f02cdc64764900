// Package pgwire stands between pgx and the socket of one connection: it says things to the server in front of what pgx says, and
// notices what passes. pgx knows nothing of it.
//
// # Words
//
//   - A flight is what pgx sends with one Sync or simple Query, and waits for.
//   - A prologue is what the pool has to say to the server (a reset, a BEGIN, a tenant's settings). It travels in front of pgx's
//     next flight, in the same packet, so it costs no round trip, and its replies are taken out of what pgx reads.
//   - A simple prologue is a Query of its own, with a ReadyForQuery. Any other is a part of the flight that it precedes: if it
//     fails, the server skips the rest up to the Sync, and the error is the flight's.
//
// # Invariants
//
//   - pgx sees the answers to its own messages and nothing else, but ParameterStatus and notices, which are for everybody.
//   - What follows a simple prologue never runs if that fails: the server ends the session with the error (exit_on_error), which
//     [Conn.Failure] tells. If the session goes on all the same, nothing more is read from it.
//   - A part never travels with a simple Query, which would run without it: that is [ErrSimple].
//   - After a write that failed nothing is sent but the goodbye: pgx keeps what it could not write, and would send it with that.
//
// # What is not obvious
//
//   - pgx's BEGIN can be held back ([Conn.DeferBegin]): pgx has its answer from here, and BEGIN goes with the first flight, in the
//     same segment, which the server skips if BEGIN fails. That leaves it in no transaction, where what pgx sends would commit by
//     itself: so to pgx it is a transaction that has failed, and can only be rolled back.
//   - pgconn writes ExecBatch, which is pgx's SendBatch in exec mode, to the socket and not to its frontend. So nothing can travel
//     in front of it; but its ReadyForQuery is one more than was asked for ([Conn.Strayed]).
//   - Whether a statement that failed has run is seen here and told by nobody else: BindComplete comes before anything runs.
package pgwire

// Package pgwire stands between pgx and the socket of one connection. It sends things to the server in front of what pgx sends, and notes what
// passes. pgx knows nothing of it.
//
// # Words
//
//   - An exchange is what pgx sends up to one Sync, or as one simple Query, and whose answer it waits for.
//   - A prologue is something that the pool sends to the server: a reset, a BEGIN, a tenant's settings. It travels in front of pgx's next
//     exchange, in the same packet, so it costs no round trip. Its replies are removed from what pgx reads.
//   - A simple prologue is a Query of its own, answered with a ReadyForQuery. Any other prologue is a part of the exchange that it precedes: if
//     it fails, the server skips the rest up to the Sync, and pgx gets the error for its exchange.
//
// # Invariants
//
//   - pgx sees the answers to its own messages and nothing else, except ParameterStatus and notices, which are for everybody.
//   - What follows a simple prologue never runs if the prologue fails: the server ends the session with the error (exit_on_error), which
//     [Conn.Failure] returns. If the session goes on all the same, nothing more is read from it.
//   - A part never travels with a simple Query ([ErrSimple]), and after a failed write nothing but Terminate is sent.
//
// # Non-obvious
//
//   - pgx's BEGIN can be held back ([Conn.DeferBegin]): pgx gets its answer from here, and BEGIN travels with the first exchange, in the same
//     segment, which the server skips if BEGIN fails. The server is then in no transaction, and would commit by itself what pgx sends next.
//     So pgx is told that the transaction has failed, and can only roll it back.
//   - pgconn writes ExecBatch, which is pgx's SendBatch in exec mode, to the socket and not to its frontend. So nothing can travel in front
//     of it; but its ReadyForQuery is one more than was asked for ([Conn.Strayed]).
//   - Only here is it seen whether a statement that failed has run: BindComplete comes before anything runs.
package pgwire

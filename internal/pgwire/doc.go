// Package pgwire stands between pgx and the socket of one connection. It sends the pool's own messages in front of what pgx sends, and notes what passes.
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
//   - A prologue that is a part of an exchange never travels with a simple Query ([ErrSimple]). After a failed write only Terminate is sent.
//
// # Non-obvious
//
//   - pgx's BEGIN can be held back ([Conn.DeferBegin]). pgx gets its answer from this package, and BEGIN travels with the first exchange, up to
//     the same Sync: if BEGIN fails, the server skips the exchange. The server is then in no transaction, and would commit by itself what pgx
//     sends next. So pgx is told that the transaction has failed, and can only roll it back.
//   - pgconn writes ExecBatch, which is pgx's SendBatch in exec mode, past this package to the socket. So nothing can travel in front of it, and
//     it is noticed only by its ReadyForQuery, which no exchange has asked for ([Conn.Strayed]).
//   - This package sees whether a statement that failed can have run: the server sends BindComplete before it runs anything.
package pgwire

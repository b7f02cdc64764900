// Package pgdial decides how a connection is dialed: which servers are trusted ([Secure]), with which password ([WithPasswords]), how long a dial may take
// ([LoginTime]), how soon a silent server is noticed ([LookAfter], [Peeker]), and whether the server must be a writer ([Writer]). It knows pgx's
// configurations and connections, but not the pool. What an answer means for the pool's other connections is decided in package pool.
//
// # Invariants
//
//   - A panic in the user's code does not end the process, even in a goroutine of pgx or pgxpool ([Dial.Guard], which names the exceptions).
//   - The functions of a ConnConfig are wrapped in this order: Guard, Writer.Validate, Dial.Bound, and last the Install of package pgcancel.
package pgdial

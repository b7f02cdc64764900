// Package pgdial decides how a connection is dialed: which servers are trusted ([Secure]), with which password ([WithPasswords]), how long a dial may take
// ([LoginTime]), how soon a silent server is noticed ([LookAfter], [Peeker]), and whether the server must be a writer ([Writer]). It knows pgx's
// configurations and connections, but not the pool. What an answer means for the pool's other connections is decided in package pool.
//
// # Invariants
//
//   - A panic in the user's code does not end the process, even in a goroutine of pgx's or pgxpool's ([Dial.Guard], which names the exceptions).
//   - A ConnConfig is wrapped in this order: Guard, Writer.Validate, Dial.Bound. What cancels statements wraps all of these.
package pgdial

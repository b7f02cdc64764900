// Package pgdial decides how a connection is dialed: to which servers, with which password, how long the dial may take, how soon a silent server is
// noticed, and whether the server must be a writer. It knows pgx's configurations and connections, but not the pool. What an answer means for the
// pool's other connections is decided in package pool.
//
// # Which servers are trusted
//
// pgx does not keep the word sslmode, so package sslmode derives it from the TLS configurations. For hosts of AWS, and for any host if the user gives
// roots of his own, pgx's default (prefer) becomes verify-full when the pool is made ([Secure]). The plain-text candidates are removed, so a dial
// cannot fall back to them. If the server refuses the password, the dial asks BeforeConnect once more, and tries again only with another password
// ([WithPasswords]). [Explain] adds to the error of a dial what to do about it, and removes the password from it.
//
// # How long a dial may take
//
// Hosts of AWS get 2 s for TCP. If a login gets no answer in all its time, the next one gets twice that time, up to 30 s ([LoginTime]). A [Dial] is
// one dial: it bounds the TCP part, and notes whether a server accepted the connection. Sockets to AWS have TCP keepalive (after 1 s, every 1 s, 5
// times) and a TCP_USER_TIMEOUT of 6 s ([AWSDialer]). Before a socket that was idle for a millisecond is used, a [Peeker] looks whether it is closed.
//
// # Whether the server writes
//
// The pool wants a [Writer] if target_session_attrs or the name of an Aurora writer says so, or after the first write that has succeeded. From then
// on a dial that finds a standby fails. The server is asked for its [Standing]. The parameter in_hot_standby alone is not enough, because a pooler
// may report an old value. In a blue/green switch-over the old primary is no standby, but its configuration (pg_settings.source) makes it read-only.
// It then counts as a standby.
//
// # Invariants
//
//   - A panic in the user's code does not end the process, even in a goroutine of pgx's or pgxpool's ([Dial.Guard], which names the exceptions).
//   - A ConnConfig is wrapped in this order: Guard, Writer.Validate, Dial.Bound. What cancels statements wraps all of these.
package pgdial

// Package pgdial is what a connection is dialed with, and what is known of the other end: who may be talked to, with which password, how long
// that may take, how soon a silent server is noticed, whether the server is to be one that writes. It knows pgx's configurations and connections,
// and no pool: what an answer means for the connections that there are is decided there.
//
// # Who may be talked to
//
// pgx keeps no word of sslmode, so package sslmode reads it off the TLS configurations. For hosts of AWS, and any host with roots of the user's
// own, pgx's default (prefer) becomes verify-full when the pool is made ([Secure]); the plain-text candidates are gone, so nothing can fall back.
// A dial whose password was refused asks BeforeConnect once more and tries again only with another password ([WithPasswords]). [Explain] says of
// a dial that failed what to do about it, without the password.
//
// # How long a dial may take
//
// Hosts of AWS get 2 s for TCP; a login that is silent for all its time gives the next twice that, up to 30 s ([LoginTime]). A [Dial] is one dial
// of many: it bounds the TCP part, and hears whether there was somebody. Sockets to AWS have TCP keepalive 1 s / 1 s / 5 and a TCP_USER_TIMEOUT
// of 6 s ([AWSDialer]). A socket that was idle for a millisecond is looked at ([Peeker]).
//
// # Who writes
//
// A [Writer] is told that a writer is wanted, by target_session_attrs or the name of an Aurora writer, or learns it from the first write that
// succeeds. From then on a standby is no server for the pool: a dial that finds one has failed. A server's [Standing] is asked, never watched by
// in_hot_standby alone: PostgreSQL demotes no session without a restart, and a pooler repeats what was so once. In a blue/green switch-over the
// old primary is no standby, but its configuration, by pg_settings.source, makes it read-only: then it counts as one.
//
// # Invariants
//
//   - Nothing of the user's that runs in a goroutine of pgx's or pgxpool's can end the process ([Dial.Guard]).
//   - The wrappers of a ConnConfig go on in this order: Guard, Writer.Validate, Dial.Bound; what cancels is outside of them.
package pgdial

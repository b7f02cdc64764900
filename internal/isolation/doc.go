// Package isolation keeps what the users of one connection leave in its session, what texts mean in it meanwhile, and how it becomes clean again. A
// [Session] is the state of one connection's session. A [Use] is the part that one lease has in it. Before each call the pool says what is going to
// be sent (BeforeStatement and the like). The Use notes what that leaves, and sees to it that the text means what it would mean in a clean session of
// its user's. After the lease the pool asks what the session needs before its next user. Package catalog knows what a statement leaves, and package
// session what a reset is. The pool decides when a connection is cleaned or closed.
//
// # What texts mean
//
// The server decides what a text means when it parses it, by the settings of that moment: search_path, role and temporary tables decide which table a
// name stands for, TimeZone which instant '2024-01-01' is. A prepared statement keeps that meaning, and pgx keeps the prepared statement, by its
// text, for whoever sends the same text next. The server may also parse a prepared statement again, because its table was altered. So while the
// settings of a session differ from what AfterConnect has left, pgx's caches are neither read nor filled: each text is parsed, described and executed
// without a name.
//
// Behind a pooler the next transaction may run in another session. So there an unnamed statement must not be parsed in one exchange and executed in the
// next, where the unnamed statement may be somebody else's. Outside a transaction pgx's mode cache_describe is used instead, which sends the text
// again with its arguments. What pgx has in its cache for that text is dropped before and after, because it was described under other settings.
//
// # The values of sequences
//
// A session has the values that currval and lastval return, and the numbers that nextval has taken in advance (CACHE). DISCARD SEQUENCES drops both.
// A lease must not see the values of an earlier one, but the advance numbers should not be thrown away after each lease. So the session remembers
// that it has foreign values, and they are dropped in front of the first statement that might return them: one that names currval or lastval, or one
// of which it is not known what it does. Many services never run one. A lease's own values must not be dropped. So a lease that may run more
// statements drops foreign values before it draws its first own one, unless that one overwrites all of them.
package isolation

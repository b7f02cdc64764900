// Package isolation records what the users of a connection leave in its session and what texts mean in that session, and makes the session clean again.
// A [Session] is the state of one connection's session. A [Use] is the state of one lease of that session. Before each call the pool tells the Use
// what is going to be sent (BeforeStatement and the like). The Use notes what that leaves, and makes sure that the text means what it would mean in a
// clean session with the settings of its user. After the lease the pool asks what the session needs before its next user. Package catalog knows what
// a statement leaves. Package session knows how to reset. The pool decides when a connection is cleaned or closed.
//
// # What texts mean
//
// The server decides what a text means when it parses the text, by the settings of that moment. search_path, role and temporary tables decide which table
// a name stands for; TimeZone decides which instant '2024-01-01' is. A prepared statement keeps that meaning, and pgx keeps the prepared statement for the
// next user who sends the same text. The server may also parse a prepared statement again, because its table was altered. So while a session's settings
// differ from those that AfterConnect has left, pgx's caches are not used: each text runs as an unnamed statement.
//
// Behind a pooler the next transaction may run in another session, whose unnamed statement may be another client's. So an unnamed statement must not
// be parsed in one exchange and executed in the next. Outside a transaction pgx's mode cache_describe is used instead, which sends the text again with
// its arguments. pgx's cached description of that text is dropped before and after, because the other one was made under other settings.
//
// # The values of sequences
//
// A session has the values that currval and lastval return, and the numbers that nextval has taken in advance (CACHE). DISCARD SEQUENCES drops both.
// A lease must not see the values of an earlier lease, but the numbers taken in advance should not be thrown away after each lease. So the Session
// remembers that it has foreign values: values drawn by earlier leases. They are dropped in front of the first statement that might return them: a
// statement that names currval or lastval, or whose effects are unknown. Many services never run one. A lease's own values must not be dropped. So a
// lease that may run more statements drops foreign values before it draws its first own value, unless that value overwrites all foreign ones.
package isolation

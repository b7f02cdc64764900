// Package isolation knows what the users of one connection leave in its session, what texts mean in it meanwhile, and how it is taken away. A
// [Session] is what was left in one connection's, and a [Use] what one lease makes of it. Before a user's call the pool says what is going to be sent
// (BeforeStatement and its like): what that leaves is noted, and it is made to mean what it says. After the lease the pool asks what the session
// needs before its next user comes. What a statement leaves is known to package catalog, what a reset is to package session; when a connection is
// cleaned or closed is the pool's to decide.
//
// # What texts mean
//
// What a text means is decided when the server parses it, by the settings that are there then: which table a name stands for, by search_path, role
// and temporary tables; which instant '2024-01-01' is, by TimeZone. The prepared statement keeps that meaning, and pgx keeps the prepared statement,
// by its text, for whoever sends the text next. The server may also parse a statement again when it is executed, because its table was altered. So
// while the settings of a session differ from what AfterConnect has left, nothing is taken from pgx's caches and nothing is put there: each text is
// parsed, described and executed without a name.
//
// Behind a pooler the next transaction may run in another session. So there a statement must not be parsed in one flight and executed, without a
// name, in the next: that may be somebody else's. Outside a transaction pgx's mode cache_describe is used, which sends the text again with its
// arguments. What pgx has in its cache for that text is dropped before, since it was described under other settings, and after.
//
// # The values of sequences
//
// Those that a session has, which currval and lastval tell, and the numbers that nextval has taken in advance (CACHE) go together: DISCARD SEQUENCES
// drops both. What one lease leaves must not be told to the next, and the cache must not be thrown away each time. So it is remembered that there are
// foreign values, and they are dropped in front of the first statement that might tell them: one that names currval or lastval, and one of which
// nobody knows what it does. Many services never run one. Own values must not be dropped. So a lease that may run more statements drops foreign
// values before it draws its first own one, unless that overwrites all of them: then nothing foreign is left to tell.
package isolation

// Package session reads the state of a connection's session when it is new ([Baseline]). It has the SQL that takes away what users have left in a session,
// and the [Settings] of a tenant. Package pool decides when a session is reset.
//
// # What is left, and what is sent before the next user's first statement
//
// Transaction control, SET LOCAL, SHOW and LOCK leave nothing. Reads and writes leave nothing if all functions that they call leave nothing; the bodies of
// the user's own functions and triggers are looked at too. After these nothing is sent. After others it depends on the trace ([sqltext.Trace]):
//
//   - sequence (nextval, by name or as a column's default): DISCARD SEQUENCES, in front of the first statement that might read them.
//   - session (SET, RESET, LISTEN, set_config, session advisory locks): the reset.
//   - any (a function whose body does not say what it leaves, DO, CALL, DDL, COPY as SQL text, SELECT INTO, SET LOCAL search_path, several statements in
//     one text, hooks that send something, names that are not known yet, the raw connection): the reset, and statements prepared in SQL are dropped. That
//     takes time in proportion to the number of all prepared statements.
//   - lasting (LOAD, a plpgsql setting, dblink_connect, slots and backups, DISCARD ALL, DEALLOCATE ALL): no SQL takes it away, so the connection is closed.
//
// The settings that the server reports by itself (role, TimeZone, search_path from version 18 on) are also compared after each lease.
//
// # The reset
//
// The reset does what DISCARD ALL does, except DEALLOCATE and DISCARD PLANS, because pgx and the lanes keep their prepared statements. Then it sets again
// what AfterConnect has set. If it fails, the session ends ([FailClosed]). It runs read committed: a deferrable transaction would wait for others, and a
// standby has no serializable one.
//
// A statement that the user prepared under a name of his own counts by its text, not by its name, and is dropped on the server and in pgx. If a function
// has deallocated all statements, the pool's own one (the witness) is missing, and the connection is closed. A session that was changed is also closed if
// AfterConnect listens in it, holds a lock, has made a temporary table, or may have made a setting whose name is not known ([Heard]).
//
// # What stays all the same
//
// If somebody replaces a prepared statement of AfterConnect by the raw connection or in a function, it stays replaced. A custom setting that was once set
// reads as an empty string instead of NULL. A library stays loaded; the reset itself loads the one of PL/pgSQL. These stay too: what a user's function does
// beyond the list above (LOAD, dblink, a plpgsql setting), a type that was registered on the TypeMap of a raw connection, and a plan with the value of a
// function that is wrongly declared IMMUTABLE. Variables of a PL/pgSQL function keep the types that they had when the session first called it, perhaps
// under another search_path (numeric in one schema, an enum in another): qualify those types where schemas differ.
package session

// Package session knows what a connection's session was like when it was new ([Baseline]), the SQL that takes away what its users have left in it, and
// the [Settings] of a tenant. When a session is reset is not decided here.
//
// # What is left, and what is sent before the next user's first statement
//
// Nothing is left by transaction control, SET LOCAL, SHOW, LOCK, and by reads and writes that call only functions that leave nothing; the bodies of the
// user's own functions and triggers are looked at too. After these nothing is sent. Otherwise it depends on the trace ([sqltext.Trace]):
//
//   - sequence (nextval, by name or as a column's default): DISCARD SEQUENCES, in front of the first statement that might read them.
//   - session (SET, RESET, LISTEN, set_config, session advisory locks): the reset.
//   - any (a function whose body does not say what it leaves, DO, CALL, DDL, COPY by text, SELECT INTO, SET LOCAL search_path, several statements in one
//     text, hooks that send something, names that are not known yet, the raw connection): the reset, and statements prepared in SQL are dropped. That
//     takes time in proportion to all that is prepared.
//   - lasting (LOAD, a setting of plpgsql's, dblink_connect, slots and backups, DISCARD ALL, DEALLOCATE ALL): nothing helps, so the connection is closed.
//
// Besides, what the server reports by itself (role, TimeZone, search_path from version 18 on) is compared after each lease.
//
// # The reset
//
// It does what DISCARD ALL does, except DEALLOCATE and DISCARD PLANS, because pgx and the lanes keep their prepared statements. Then it sets again what
// AfterConnect has set. If it fails, the session ends ([FailClosed]). It runs read committed: a deferrable transaction would wait for others, and a
// standby has no serializable one.
//
// A statement that the user prepared under a name of his own counts by its text, not by its name, and is dropped on the server and in pgx. If a function
// has deallocated all, a statement of ours (the witness) is missing, and the connection is closed. So is a session that was changed if AfterConnect
// listens in it, takes a lock, makes a temporary table, or may have made a setting whose name is not known ([Heard]).
//
// # What stays all the same
//
// A statement of AfterConnect's stays replaced if somebody replaces it by the raw connection or in a function. A custom setting that was once set reads
// as an empty string instead of NULL. A library stays loaded; the reset itself loads PL/pgSQL's. So does what a user's function does beyond the list
// above (LOAD, dblink, a setting of plpgsql's in a function), a type that was registered on the TypeMap of a raw connection, and a plan with the value of
// a function that is wrongly declared IMMUTABLE. Variables of a PL/pgSQL function keep the types that they had when the session first called it, perhaps
// under another search_path (numeric in one schema, an enum in another): qualify those types where schemas differ.
package session

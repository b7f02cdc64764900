// Package session knows what a connection's session was like when it was new, what its users have left in it, and the SQL that takes that away;
// and the settings that a tenant's statements run with. It decides nothing about when: that is the pool's.
//
// # Words
//
//   - The [Baseline] is what the session was like after AfterConnect.
//   - A trace ([sqltext.Trace]) is what a statement may leave. Package isolation keeps what was left since the last reset.
//
// # What is left, and what is sent before the next user's first statement
//
// Nothing is left by transaction control, SET LOCAL, SHOW, LOCK, and by reads and writes that call only what leaves nothing, the bodies of the
// user's own functions and triggers included: then nothing is sent. Otherwise, by the trace:
//
//   - sequence (nextval, by name or as a column's default): DISCARD SEQUENCES, in front of the first statement that might read them.
//   - session (SET, RESET, LISTEN, set_config, session advisory locks): the reset.
//   - any (a function whose body does not say what it leaves, DO, CALL, DDL, COPY by text, SELECT INTO, SET LOCAL search_path, several statements
//     in one text, hooks that send something, names that are not known yet, the raw connection): the reset, and statements prepared in SQL. That
//     takes time in proportion to all that is prepared.
//   - lasting (LOAD, a setting of plpgsql's, dblink_connect, slots and backups, DISCARD ALL, DEALLOCATE ALL): nothing helps, the connection is
//     closed.
//
// On top of that, what the server reports by itself (role, TimeZone, search_path from version 18 on) is compared after each lease.
//
// # The reset
//
// It is what DISCARD ALL does, but for DEALLOCATE and DISCARD PLANS, on which pgx's and the lanes' prepared statements live. Then what
// AfterConnect has set is set again. Its values are read when the connection is dialed. A setting with a dot in its name is in no list of the
// server's, so AfterConnect must have said its name, in SET or in set_config with a literal. What else it runs (a DO, a function of the user's)
// makes the session one that is closed instead.
//
// It fails closed: exit_on_error is on while it runs, so whatever stops it ends the session, and what travels behind it never runs in a session
// that was not reset. It runs read committed: a deferrable transaction would wait for others, and a standby has no serializable one.
//
// A statement that the user prepared under a name of his own counts by its text, not by its name, and is deallocated on both sides. A prepared
// statement of ours (lmipool_witness) tells, by its absence, that a function has deallocated all: the connection is closed. So is one whose
// AfterConnect listens, takes a lock, or makes a temporary table, when it was touched.
//
// # What stays all the same
//
// A statement that AfterConnect has prepared and somebody replaces by the raw connection or in a function. A custom setting once set reads an
// empty string instead of NULL. A library once loaded stays, PL/pgSQL's by the reset itself. What a user's function does beyond the list above
// (LOAD, dblink, a setting of plpgsql's in a function). A type that was registered on the TypeMap of a raw connection. The types that variables
// of a function of PL/pgSQL had when it was first called, under another search_path (numeric in one schema, an enum in another): qualify the
// types of variables where schemas differ. A plan that has the value of a function wrongly declared IMMUTABLE.
//
// # Settings
//
// They are transaction-local, their values are parameters, and they travel in the same Sync segment as what they are for. So they end with it,
// and if they fail the server skips it.
package session

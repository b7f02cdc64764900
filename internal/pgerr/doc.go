// Package pgerr says what an error means. It knows the errors of pgx, of the server, of poolers, of the network and of contexts,
// and the wrappers that say how far something had got when it failed. It does nothing but look at errors.
//
// # Classes
//
// An error has one [Class], by what its caller does next: change configuration or rights (Misconfigured), try again (Retryable:
// certainly nothing has happened), look whether it has happened (Unknown), or give up. None is for what nobody here knows, and
// counts for nothing when it is joined with something else; the caller of the library gives up then too. [Classify] decides in
// one walk over the tree of an error. Package pool's Retryable has the table for users.
//
// The same error means different things by how far it had got: the end of a ctx leaves open what was sent, and says that nothing
// has happened if there was no connection yet. The walk begins with the assumption that it was sent. These wrappers tell it more
// on its way down:
//
//   - [RolledBack], and pool's AcquireError: nothing has happened, whatever is inside.
//   - pgconn.ConnectError: a connection was being opened. Of several hosts, one that may come is enough.
//   - [SentUnanswered]: it was sent, and nobody is told the answer, unless it is inside RolledBack.
//   - [Canceled]: the server has stopped it, unless the error inside says that the connection was given up.
//   - [PartlyDone]: never Retryable, since something was committed.
//   - [Unsent] and [NotRun] are safe to retry by pgconn's own word, a method SafeToRetry.
//   - [Config], and errors of users' hooks, are Misconfigured by a method of that name.
//
// The errors that are types of package pool cannot be known here: pool hands an [Outer] to Classify.
//
// # Non-obvious
//
//   - pgx says of "conn closed" that it is safe to retry, also when it finds the connection closed while it waits for an answer:
//     so that is not believed.
//   - FATAL means that the session ends with the answer, so the outcome is unknown, except for sessions that were ended while
//     they idled: PostgreSQL looks for that before it runs what it has read.
//   - PgBouncer has the code 08P01 for all that it says itself, so it is told by its English words.
//   - [IsAway] and [IsFull] are asked of failed dials, [IsLost] of connections that were in use.
//   - pgx quotes an argument that it cannot encode, and PostgreSQL the value of a setting that it refuses. [Arguments] and
//     [WithoutValues] tell such errors again without them.
//   - pgconn.Timeout looks for a type that only pgconn can make: [AsTimeout] lends one to errors of ours that mean the same.
package pgerr

// Package pgerr says what an error means. It knows the errors of pgx, of the server, of poolers, of the network and of contexts, and the wrappers
// that say how far a call had got when it failed. The package only looks at errors and wraps them.
//
// # Classes
//
// An error has one [Class], which says what its caller does next: change configuration or rights (Misconfigured), try again (Retryable: certainly
// nothing has happened), look whether the call has had an effect (Unknown), or give up (GiveUp). None is for errors that this package does not know:
// beside a joined error it counts for nothing, and alone it means to give up. [Classify] decides in one walk over the tree of an error. The
// documentation of package pool's Retryable has the table for users.
//
// The same error means different things, depending on how far the call had got. If a ctx ends, it is unknown whether a statement that was sent has run;
// but if there was no connection yet, nothing has happened. The walk assumes first that the call was sent. These wrappers tell it more on its way down:
//
//   - [RolledBack], and pool's AcquireError: nothing has happened, whatever is inside.
//   - pgconn.ConnectError: a connection was being opened. If there are several hosts, one that may answer later is enough.
//   - [SentUnanswered]: the call was sent, and its caller does not get the answer, unless the error is inside RolledBack.
//   - [Canceled]: the server has stopped it, unless the error inside says that the connection was given up.
//   - [PartlyDone]: never Retryable, since something was committed.
//   - [Unsent] and [NotRun] have pgconn's method SafeToRetry, so they are Retryable.
//   - [Config], and errors of users' hooks, have a method Misconfigured.
//
// Errors whose types are in package pool cannot be known here: pool passes an [Outer] to Classify.
//
// [IsAway] and [IsFull] are for errors of dials, [IsLost] for errors of connections that were in use. [Arguments] and [WithoutValues] hide an argument,
// or the value of a setting, that an error quotes.
package pgerr

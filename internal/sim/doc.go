// Package sim runs the scheduler that ships, internal/sched, in a virtual time: with callers, connections and a server that are models. It is for tests
// and pictures.
//
// A [World] has a clock and a list of events. Nothing else makes time pass, and all that is random is drawn from one seed, so a run can be repeated to
// the byte: its trace has a line for each event. One thread does everything. Where the pool would block in Acquire, a caller here asks
// ([sched.Scheduler.Ask]) and is told.
//
// An event is an arrival, a grant (a caller goes on with its answer), the end of a statement, a timer, or the end of a dial.
//
// An [Env] is one pool with its callers; several may share a [Server]. What an Env knows of its callers and connections it holds against what the
// scheduler says: after each event if Check is set, and at the end. A contradiction is a [*Broken], which names the event and the
// rule.
//
// # Rules
//
//	connections, those being closed and dials included, are ≤ Max, and each is in one place: idle, held, being cleaned, or being closed
//	nobody waits beside an idle connection, and nobody waits with nothing to come: no connection, dial or timer
//	who waits for a connection of its own is served in order, and so are those who share
//	each request gets one answer; a connection is lent to one caller at a time, and not after Close
//	the limit is what the dials, the surplus and the fences so far make it
//	the counters are what happened
//	when the load is over all comes back, and what is idle for long is closed
package sim

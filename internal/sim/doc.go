// Package sim runs the scheduler that ships, internal/sched, in a virtual time. Callers, connections and the server are models. It is for tests and
// pictures.
//
// A [World] has a clock and a list of events. Only events move the clock, and all random numbers come from one seed. So the same seed repeats a run
// to the byte of its trace, which has a line for each event. One goroutine does everything. Where the pool would block in Acquire, a caller here asks
// with [sched.Scheduler.Ask], and a callback tells it the answer.
//
// An event is an arrival, a grant (a caller goes on with its answer), the end of a statement, a timer, or the end of a dial.
//
// An [Env] is one pool with its callers; several may share a [Server]. An Env keeps its own books on its callers and connections. It compares them
// with what the scheduler says after each event if Check is set, and at the end. A difference is a [*Broken], which names the event and the rule.
//
// A [Fleet] is many environments that share a budget of connections, with the rule that ships, internal/fleet. It has no callers: each environment takes
// all connections that it may have.
//
// # Rules
//
//	connections (those being closed included) and dials are together ≤ Max, and each connection is idle, held, being cleaned, or being closed
//	no caller waits while a connection is idle, or while no connection, dial or timer can end its wait
//	callers who wait for a connection of their own are served in the order of arrival, and so are those who share; under pressure the newest may be first
//	no caller is served after its latest start, and each that waits is refused then; on arrival one is refused only if it is late or the queue is too long
//	each request gets one answer; a connection is lent to one caller at a time, and not after Close
//	the limit follows from the dials, the surplus and the fences so far
//	the counters agree with what happened
//	after the load has ended, all connections come back
package sim

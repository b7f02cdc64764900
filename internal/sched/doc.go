// Package sched decides who gets a connection, in which order, and when one more is
// dialed. It does no I/O, knows no SQL, and of errors only those that it is given.
//
// # Words
//
// A [Conn] is a place: what the server may count as ours. A [Request] is one caller's wish
// for one. A request that has a [Share] may travel with others of its kind: they are a
// [Group], which has the connection for one turn, and then the next group may, as long as
// the head of the queue shares. A connection is idle, or held by a request or a group, or
// with a goroutine that will call Release or Drop.
//
// # How it is built
//
// The core is events in, actions out: each method of core is an event, takes the time, and
// leaves in actions what is to be done. It has no clock, no timer, no goroutine and no lock,
// so a run can be repeated to the byte, which core_test.go does. The [Scheduler] around it has the
// one lock and the timers, hands events in, and does after unlocking what comes out. An
// Acquire that finds an idle connection is one event without an action.
//
// # Order
//
// Requests are served in order of arrival. The head of the queue decides what becomes of a
// connection that comes free: a request for one of its own gets it; one that shares takes along those behind it
// that share and fit, wherever they stand. So whoever is in front is served with the
// next connection that comes free, and nobody is overtaken by more than a group, which is
// bounded. A group that waits for nobody else to board is asked to: most who were just
// answered ask again at once, so the next group waits until they have gone on with their
// answers, unless it is full without them or a request for a connection of its own is next.
//
// # Growth
//
// The limit starts at 1. A dial is begun while the queue needs more turns than dials are
// under way, and the connections are fewer than the limit, or demand.grow says that one
// more is worth its dial; that is asked with each event and, while somebody waits, each stallTick.
// What comes free serves the queue meanwhile: a dial is nobody's, and who waits
// takes whatever is first. limit.go has the rule, and why. The least hold and not the average says how long a
// burst takes: what the average is above it is mostly waiting for the same CPUs.
//
// # Dials that fail
//
// While there is a connection, a failed dial is nobody's error. With none left, all who
// had been waiting when it began get it; who came later gets a dial that began later. After
// each failure dials rest, twice as long each time and half of it at random; a pool that has lost its last connection
// does not wait for a long rest to end. If something is only lacking ([Lack]: the server is full, or away) nobody gets an
// error before its own deadline, or before it has waited for Patience without one.
//
// # Invariants
//
// After each event:
//
//	connections + dials ≤ limit ≤ Max, but for a limit that has just been lowered
//	the queue is not empty ⇒ nothing is idle: whatever comes free goes to the head
//	each request gets one answer: a connection, an error, or that it was shared
//	after Close nobody gets anything
package sched

// Package sched decides who gets a connection, in which order, and when one more is dialed. It does no I/O, knows no SQL, and of errors only those
// that it is given.
//
// # Words
//
// A [Conn] is a place: what the server may count as ours. A [Request] is one caller's wish for one. A request that has a [Share] may travel with
// others of its kind: they are a [Group], which has the connection for one turn, and then the next group may, as long as the head of the queue
// shares. A connection is idle, or held by a request or a group, or with a goroutine that will call Release or Drop.
//
// # How it is built
//
// The core is events in, actions out: each method of core is an event, takes the time, and leaves in its actions what is to be done. It has no clock,
// no timer, no goroutine and no lock, so a run can be repeated to the byte, which core_test.go does. Of its parts queue is who waits, stock what
// there is, growth how many there may be, and outage what failed dials have come to. They decide together, under one lock: with two there would be
// two truths. The [Scheduler] around the core has that lock and the timers, hands events in, and does after unlocking what comes out. An Acquire that
// finds an idle connection is one event without an action, and allocates nothing.
//
// A request has no allocation of its own either: it is a part of what asks, and its queue goes through it. So it must not be used again before its
// wait is over, and who carries a group forgets a request once it has its answer. Who waits for a connection of its own can be asked again whether it
// can share ([Scheduler.AskAgain]), in its own goroutine: only there may be looked at what it asks with.
//
// # Order
//
// Requests are served in order of arrival. The head of the queue decides what becomes of a connection that comes free: a request for one of its own
// gets it; one that shares takes along those behind it that share and fit, wherever they stand. So whoever is in front is served with the next
// connection that comes free, and nobody is overtaken by more than a group, which is bounded. Most who were just answered ask again at once, so the
// next group waits until they have gone on with their answers, unless it is full without them or a request for a connection of its own is next.
//
// # Growth
//
// One more connection is dialed when somebody waits for whom no dial is under way, fewer than two dials run, there are fewer than Max, and one of
//
//   - there are fewer than the limit, which is as many as were wanted at once before and lowered with each that was not needed;
//   - waiting has cost more than a dial does (growth.grow): nothing came free for as long as a dial takes, or short stalls have come to that; or there is only
//     a first dial that may hang; or the queue would take longer to drain than four dials; or this is load and no burst.
//
// A dial is nobody's: who waits takes whatever is first. 64 statements of 1 ms at once open 1 to 4 connections, where pgxpool opens 64, while 24 holds of
// 300 ms get all 8 of 8. Known limit: on a machine whose CPUs are overcommitted four times over, the demo's peak was 5 rather than 2.
//
// # Dials that fail
//
// While there is a connection, a failed dial is nobody's error. With none left, all who had been waiting when it began get it, at once or, if another
// dial is under way, when that has failed too; who came later gets a dial that began later. After a failed dial none begins beside another, and the
// next rests, from 50 ms up to 6.4 s, half of it at random, 0.4 s at most where somebody waits and there is no connection. Who is out of time by then
// hears of the last dial.
//
// If something is only lacking ([Lack]) nobody gets an error before its own deadline, or before it has waited for Patience without one, thrice that
// if the server is away. A full server is no failed dial but back-pressure: one dial at a time, further and further apart; with no connection one is
// tried at least every 0.8 s, so what comes free goes to those who have none. While the server is away two dials at a time go on.
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

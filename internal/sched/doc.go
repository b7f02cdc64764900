// Package sched decides who gets a connection, in which order, and when one more is dialed. It does no I/O and knows no SQL.
//
// # Words
//
// A [Conn] stands for one connection, from the beginning of its dial until the server has let go of it. A [Request] is one caller's wish for a
// connection. A request with a [Share] can use a connection together with others like it: they are a [Group], which has the connection for one turn.
// The next group follows on the same connection for as long as the request at the head of the queue shares. A connection is idle, or held by a
// request or a group, or with a goroutine that will call Release or Drop.
//
// # How it is built
//
// Each method of core is an event: it takes the time, and leaves in core.out what is to be done. core has no clock, no timer, no goroutine and no lock, so
// a run can be repeated to the byte, which TestARunCanBeRepeatedToTheByte does. Its parts are queue (who waits), stock (which connections there are), growth (how many there
// may be) and outage (what failed dials mean). One lock guards them all, since every decision needs all of them. The [Scheduler] has that lock and the
// timers: it hands events in, and after unlocking it does what comes out. An Acquire that finds an idle connection has no action.
//
// A request is a field of what asks, and the queue links requests through their own fields, so neither allocates. A request must not be used again
// before its wait is over, and whoever carries a group must not touch a request that has its answer. A request that waits for a connection of its own
// can be asked again whether it can share ([Scheduler.AskAgain]). That happens in its caller's goroutine, which owns what the request asks with.
//
// # Order
//
// Requests are served in order of arrival: a connection that comes free goes to the head of the queue. A head that wants a connection of its own gets
// this one. A head that shares takes along those behind it that share too and fit, wherever they stand. So nobody is overtaken by more than one
// group, whose size is bounded. Most callers ask again as soon as they have their answer. So the next group waits until they have gone on, unless it
// is full without them or the head of the queue wants a connection of its own.
//
// # Admission
//
// A request has a latest start: its deadline less what it is expected to take. Past it the request is refused ([NoTimeError]), when it comes, in the
// queue, or when a connection comes free. What is not known of the request is the average of all turns, which counts for at most half of its time.
// While there is no connection the latest start is the deadline. What finds an idle connection is always lent it, so a wrong expectation corrects itself.
//
// Pressure begins when the head of the queue has used three fourths of the time until its latest start, when somebody was refused in the queue, or when a
// statement was given up at its deadline while others wait. It ends when the queue is empty. A short queue that is never empty keeps it up, and then
// refuses nobody: under pressure a newcomer is refused if the queue takes longer than two turns, than 10 ms, and than a fourth of the newcomer's own time;
// and while the head of the queue is in danger the newest is served first. First in, first out would serve everybody when too little time is left. Exempt
// are those without a deadline, and those who hold a connection, who go first. With Config.Fair each key gets its part.
//
// # Growth
//
// One more connection is dialed when somebody waits for whom no dial is under way, fewer than two run, the ceiling allows it, and one of these holds:
//
//   - there are fewer than the limit: as many as were wanted at once before, less those that turned out not to be needed;
//   - waiting has cost more than a dial does (growth.grow): nothing came free for as long as a dial takes, or short stalls add up to that; or there is
//     only a first dial, which may hang; or the queue would take longer to drain than four dials; or the load has lasted for too long to be a burst.
//
// The ceiling is Max, or less if [Scheduler.SetCeiling] says so. When it sinks, connections above it are closed: idle ones at once, others when their
// users are done. Connections outside count under it too ([Scheduler.Reserve]).
//
// # The limit under load
//
// When nothing has been idle for half a second since somebody queued, and the growth rule has come to an end, the tuner takes over. It also does when
// nobody queues, if at most a quarter of the connections is idle for half a second and holds are short: 64 connections for 64 callers may answer less
// than 4 do. The tuner compares the limit with fewer and with more connections, in turns of 40 ms or two holds, and moves the limit if the other
// number is better (tuner.go says when): in factors of two after the load has changed, and in smaller steps later. Connections that may not be lent meanwhile stay idle though somebody waits; two more than the limit stay
// open. The limit stays between the floor and the ceiling. Whoever holds a connection and waits for another is not bound by it, and if nothing comes
// free in an epoch, nobody is any more. If nobody waits at the limit, a trial of fewer ends before it makes a caller late or refused. The tuner stops
// when more than a quarter is idle; the limit stays, and rises with demand as before. Idle time lowers it to the floor.
//
// A dial belongs to nobody: whoever waits takes the first connection that is there. 64 statements of 1 ms at once open 1 to 4 connections, where pgxpool
// opens 64; 24 holds of 300 ms get all 8 of 8. With four times too many processes for the CPUs the demo opened 5 and not 2.
//
// # Dials that fail
//
// While there is a connection, nobody gets the error of a failed dial. Without any, all who were waiting when that dial began get it: at once or, if
// another dial is under way, when that has failed too. Who came later waits for a later dial. After a failed dial only one runs at a time, and the
// next one begins after a rest: 50 ms at first, up to 6.4 s, half of it random; 0.4 s at most while somebody waits and there is no connection.
// Whoever runs out of time meanwhile is told of the last dial's error too.
//
// If the server is full or away ([Lack]) nobody gets an error before its own deadline. Without a deadline it gets one after Patience, or after three times
// that if the server is away. A full server means back-pressure: one dial at a time, further and further apart. A pool without a connection tries at least
// every 0.8 s, so that what comes free on the server goes to the pools that have none. If the server is away two dials run.
//
// # Invariants
//
// After each event:
//
//	connections + dials ≤ limit ≤ ceiling ≤ Max, except while what is above a lowered limit or ceiling goes; under load two more than the limit stay
//	if the queue is not empty, nothing is idle that the tuner lets be lent: whatever comes free goes to the head
//	each request gets one answer: a connection, an error, or that it was shared
//	after Close nobody gets anything
package sched

// Package member makes a pool a member of its fleet. A [Member] polls: it counts the fleet on a connection that the pool has anyway, and tells the pool
// how many connections it may have. Package fleet has the rule; this package has the clock, the lock and the SQL.
//
// A poll is due every five seconds or so. The next connection that comes back to the pool, or an idle one, then runs it in the background, before its
// next user gets it. So a poll never dials, never stands in the queue, and holds one connection for at most [timeout]. A pool that nobody uses comes to
// no poll.
//
// Before the first count a pool with a configured budget has one connection, and counts before anybody gets it. A pool without one does not know whether
// its role has a limit. It may have two connections, and counts at the latest before anybody gets the second. So a cold start with one connection does
// not wait for a count.
package member

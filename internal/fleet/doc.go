// Package fleet decides how many of the connections that all environments may hold together this one may hold. It is pure: the time and the random
// numbers are given, and whoever uses it asks the server.
//
// The budget is a number of backends of one role on one server. All environments that use the role share it. Each environment, which is one pool here,
// counts the backends from time to time on a connection that it has anyway ([SQL]), and tells its [Share] what it saw. The members of the fleet are
// told apart by their application_name, lmipool/<id>/….
//
// # Why the budget holds
//
// A [Lease] is a bit longer than the time between two polls. Take any moment, and let m be the least number of members that there were during the lease
// before it. Members that are no newcomers were there during all that time, so they are at most m, and each has counted at least m members. So it
// holds at most (budget − arrivals) ÷ m connections, where arrivals is the number of newcomers that the rule expects within a lease, and all of them
// together at most budget − arrivals. All others are newcomers, with one connection each and with a part of what the members leave beyond the arrivals.
//
// So the budget holds if no more newcomers come within a lease than the rule expects, if the role's other backends are no more than those that were seen
// lately, if the budget has one connection for each member, and if no poll is lost. A member whose polls are lost takes its count for that of a fleet
// that has grown since. Then the budget holds with a probability, which package sim tries. Where the role has a CONNECTION LIMIT, the server refuses
// whatever goes beyond the budget, in each of these cases.
package fleet

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
//
// # How many newcomers the rule expects
//
// Without a CONNECTION LIMIT nobody refuses the first connections of a deployment, so the rule expects as many newcomers as there are members at one
// moment, less the other backends, and at least half as many as there are members. With 12 members and a budget of 40 each has 2 connections. The 16
// that are left are for 12 newcomers and 4 others, or for 6 newcomers and 10 others.
//
// With a CONNECTION LIMIT it expects those that come while AWS doubles the fleet in five minutes. Of 40 connections, 12 members have 3 each while the role
// has at most one other backend, and 2 each for some minutes after it had more. Beside 10 others 3 each would be 46, so others and newcomers would be refused.
package fleet

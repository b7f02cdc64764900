// Package fleet decides how many of the connections that all environments may hold together this one may hold. It is pure: the time and the random
// numbers are given, and whoever uses it asks the server.
//
// The budget is a number of backends of one role on one server. All environments that use the role share it. Each environment, which is one pool here,
// counts the backends from time to time on a connection that it has anyway ([SQL]), and tells its [Share] what it saw. The members of the fleet are
// told apart by their application_name, lmipool/<id>/….
package fleet

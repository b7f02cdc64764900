// Package gostack says where in the code something happened. [Site] records the callers of a function that leases a connection,
// cheaply. [Label] finds what the goroutines of one handler call do in a goroutine profile, whose text [Profiler] takes. Both are
// for the log, and nothing is decided by them.
//
// Frames of the library and of Go's runtime are left out of a Site: whoever reads it looks for his own code. They are known by
// the path of their package, which a test of package pool holds against the names that Go gives them.
package gostack

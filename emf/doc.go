// Package emf writes a pool's metrics to the log in CloudWatch's embedded metric format, for functions that have no collector of OpenTelemetry.
// CloudWatch makes metrics of the lines: no API is called, and no permission is needed beyond that to write logs.
//
//	metrics, err := emf.New(emf.Options{})
//	db, err := lmipool.Open(ctx, "", &lmipool.Config{Observers: []any{metrics}})
//	metrics.Watch(db)
//
// On managed instances, and outside Lambda, there is one line a minute, and one when the pool is closed. On the other kinds of Lambda, where the process
// may be frozen between two invocations, a line is written at the end of each invocation, before its reply.
//
// Metrics that OpenTelemetry's conventions have, have their names and units (seconds); the others begin with "lmipool.". Since a metric of CloudWatch is
// told from others by its dimensions, and each combination of them costs money, there is one dimension, FunctionName. So what the conventions tell by an
// attribute has names of its own: db.client.connection.count.used and .idle.
//
//	db.client.connection.count.used, .idle   connections in use, and idle
//	db.client.connection.max                 Config.MaxConns
//	db.client.connection.pending_requests    callers that wait for a connection
//	db.client.connection.timeouts            callers that got no connection in time
//	db.client.connection.create_time         how long dials took that succeeded
//	db.client.connection.wait_time           how long callers waited for a connection; 0 for most
//	db.client.connection.use_time            how long one caller had a connection
//	db.client.operation.duration             how long statements took, from having a connection to the last answer
//	lmipool.limit                            connections that the pool may have now
//	lmipool.share, lmipool.environments      connections that the fleet's budget leaves to this pool, and pools that share it, if there is a budget
//	lmipool.in_flight                        invocations that run
//	lmipool.lateness                         the longest recent delay of a goroutine, a timer or a reply (HandlerStat.Lateness)
//	lmipool.invocation.duration              how long invocations took
//	lmipool.rides, lmipool.flights           reads that shared a connection, and the pipelines that carried them
//	lmipool.guard_refusals                   reads that ran twice, since they were slow or tried to write
//	lmipool.refused                          callers refused with ErrNoTime
//	lmipool.nested                           callers refused with ErrNestedAcquire
//	lmipool.dials.failed, .refused           dials that failed, and those of them for which the server had no room
//	lmipool.failovers                        changes of the writer
//	lmipool.cancels.lost                     connections that a cancelled statement cost
//	lmipool.resets, lmipool.unclean          sessions that were reset, and connections closed because no reset would do
//	lmipool.leaks, lmipool.late_uses         leases not given back, and uses of the pool after the invocation
//	lmipool.overruns, lmipool.panics         handlers that did not return in time, and panics that were caught
//	lmipool.late_replies                     replies that were sent after the deadline
//	lmipool.invocations.refused              invocations refused because the process is to end
//
// Connections, pending requests, limit, share, environments, in_flight and lateness are looked at twelve times for one line. Durations have values and counts, so that
// percentiles can be asked for; the error of those is at most 9 %. All others are counts of what has happened since the last line. A count of 0 is left
// out, because a metric costs money in the hours in which it is sent.
package emf

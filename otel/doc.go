// Package lmiotel gives OpenTelemetry the metrics and spans of a pool. It is a module of its own, so that a handler without it is no larger.
//
//	telemetry, err := lmiotel.New()
//	...
//	db, err := lmipool.Open(ctx, "", &lmipool.Config{Observers: []any{telemetry}})
//	...
//	_, err = telemetry.Watch(db)
//
// # Metrics
//
// The names, units and attributes are those of OpenTelemetry's semantic conventions 1.43, in which everything that is used here is the same as in 1.44:
// db.client.operation.duration, and db.client.connection.count, idle.max, idle.min, max, pending_requests, timeouts, create_time, wait_time and use_time.
// The conventions give buckets for db.client.operation.duration, from 1 ms to 10 s. The other durations have the same ones.
//
// What the conventions have no name for begins with lmipool:
//
//	lmipool.limit          connections that the pool may have now
//	lmipool.fleet.share, lmipool.fleet.environments
//	                       connections of the fleet's budget that this environment may have, and who shares it; only with a budget
//	lmipool.rides          reads that shared a connection
//	lmipool.alone          statements that waited for a connection and did not share one, by lmipool.reason (see pool.LaneStat)
//	lmipool.flights        pipelines of reads that shared a connection
//	lmipool.flight.reads   a histogram of how many reads one flight carried
//	lmipool.refused        calls refused with ErrNoTime, by lmipool.reason (see observe.RefusalReason)
//	lmipool.resets         sessions that were reset, by lmipool.reason (see observe.ResetReason)
//	lmipool.leaks          leases that their invocation did not give back
//	lmipool.overruns       handlers that did not return in time
//	lmipool.panics         panics that were caught
//
// No metric has a request id, an environment's id, a tenant or a statement's text as an attribute. The attributes have few values:
// db.operation.name is the first word of a statement if it is a command of PostgreSQL, and error.type is an SQLSTATE, "timeout", "canceled", or the Go
// type of the error. From a hundred of them on, error.type is "_OTHER".
//
// # Spans
//
// Each statement has a span, and each acquire that waited has one. Both are children of the span in the caller's ctx. Where ctx has no span, they are
// children of the invocation's X-Ray trace: on managed instances aws-lambda-go puts its id into ctx, and the environment variable does not exist. One span
// covers all tries of a statement; lmipool.tries says how many there were, if more than one. A statement that rode has the attribute lmipool.ride, and the
// address of the server that its flight was sent to. The number of rows is left out, as the conventions say. A dial has a
// span of its own, without a parent. What has a span in ctx that this process does not record has no span: samplers drop its children, and to ask them
// takes a microsecond for each statement. Outside a trace, an acquire has a span only if it failed.
//
// A statement's text is left out, unless WithQueryText is given. Then literals in it are replaced by ?, and its arguments are never shown.
//
// If otelpgx is Config.Tracer it makes spans of statements too: give New WithoutSpans, or leave otelpgx out.
package lmiotel

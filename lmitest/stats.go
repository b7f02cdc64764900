package lmitest

import "time"

// Stats is a snapshot of a Function's counters. Ready, Idle and InFlight are current; the other numbers count from Start.
type Stats struct {
	// Ready is the number of environments that have polled for work and are not about to end.
	Ready int
	// Idle is the number of runtimes that poll for work now; a handler that runs on after its timeout is not idle.
	Idle int
	// InFlight is the number of invocations that were handed to a runtime and have no reply yet.
	InFlight int
	// PeakInFlight is the highest InFlight so far.
	PeakInFlight int
	// Invocations counts the invocations that were handed to a runtime.
	Invocations int
	// Throttled counts the invocations that were throttled.
	Throttled int
	// FunctionErrors counts the handler's answers that were errors.
	FunctionErrors int
	// Timeouts counts invocations without an answer at their deadline.
	Timeouts int
	// LateReplies counts answers that came after the deadline, and got 410 Gone, which aws-lambda-go takes as fatal.
	LateReplies int
	// Starts counts the processes that were started, and InitFailures the processes that never polled.
	Starts, InitFailures int
	// Exits counts processes that polled and then ended without being told to, and Stops counts those that Terminate, Shutdown or a timeout ended.
	Exits, Stops int
	// LastExit is the most recent end of a process, whether it counts in Exits or in Stops.
	LastExit Exit
}

// Exit is the end of one process.
type Exit struct {
	// Environment is the environment's number.
	Environment int
	// PID is the process's id.
	PID int
	// Code is the exit code, -1 if a signal ended the process.
	Code int
	// State is the system's text, such as "exit status 1" or "signal: killed".
	State string
	// After is the time between the order to end and the end; 0 if there was no order.
	After time.Duration
}

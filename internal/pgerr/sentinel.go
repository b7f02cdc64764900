package pgerr

import "errors"

// What package pool has as errors of the same names.
var (
	ErrClosed          = errors.New("lmipool: the pool is closed")
	ErrInvocationEnded = errors.New("lmipool: the invocation has ended")
	ErrNestedAcquire   = errors.New("lmipool: nested acquire: all connections are held by those who wait for another")
	ErrServerFull      = errors.New("lmipool: the server takes no more connections")
	ErrServerAway      = errors.New("lmipool: no server answers that the pool can use")
)

// Why there is no connection.
var (
	ErrUnfit          = errors.New("lmipool: no connection passed its checks; see PrepareConn and ShouldPing")
	ErrDialPanicked   = errors.New("lmipool: the dial panicked; see the log")
	ErrStandby        = errors.New("the server is a standby, and this pool writes")
	ErrReadOnlyServer = errors.New("the server's configuration makes it read-only (default_transaction_read_only), and this pool writes")
)

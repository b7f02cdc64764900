package pool

import (
	"fmt"

	"github.com/lmipool/lmipool/internal/pgerr"
)

// A standstill: all connections are out, and everybody who has one waits for
// another. PostgreSQL cannot see it. That somebody waits who has a connection is no sign
// of it: of three goroutines of an invocation one may work while two wait.
//
// It is certain, and broken at once, if every connection is held by a function of InTx and
// with the ctx of each somebody waits: the function cannot be over before. Every other kind
// (of leases, open Rows, forgotten transactions; across two pools) lasts until a
// deadline, and the AcquireError of that names who holds the connections.

// ErrNestedAcquire is what the youngest waiter gets when nobody can ever be served, because
// every connection is held by a function of InTx that waits for another one. The error is a
// [*NestedAcquireError], inside an [*AcquireError].
var ErrNestedAcquire = pgerr.ErrNestedAcquire

// NestedAcquireError is ErrNestedAcquire with the two places in the code that together make
// a standstill. Do the one before or after the other, or use one connection for both.
type NestedAcquireError struct {
	Holder  Holder   // what the function of InTx holds in which the caller waited
	Waiting []string // where the caller waited, innermost first
}

func (e *NestedAcquireError) Error() string {
	at := ""
	if len(e.Waiting) > 0 {
		at = fmt.Sprintf("; waiting at %s", e.Waiting[0])
	}
	return fmt.Sprintf("%v (%s%s)", ErrNestedAcquire, e.Holder, at)
}

// Is reports whether target is ErrNestedAcquire.
func (e *NestedAcquireError) Is(target error) bool { return target == ErrNestedAcquire }

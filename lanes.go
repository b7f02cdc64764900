package lmipool

import (
	"context"

	"github.com/lmipool/lmipool/pool"
)

// LaneMode is [pool.LaneMode]: what becomes of short reads that find no idle
// connection.
type LaneMode = pool.LaneMode

// The modes; see [pool.LaneMode].
const (
	LanesAuto   = pool.LanesAuto
	LanesShadow = pool.LanesShadow
	LanesOff    = pool.LanesOff
)

// Isolation is [pool.Isolation]: what becomes of what invocations leave behind in a
// session.
type Isolation = pool.Isolation

// The modes; see [pool.Isolation].
const (
	IsolationAuto = pool.IsolationAuto
	IsolationOff  = pool.IsolationOff
)

// Alone returns a ctx whose statements never share a connection with those of
// another invocation: [pool.Alone].
func Alone(ctx context.Context) context.Context { return pool.Alone(ctx) }

package pool

import (
	"context"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/internal/deadconn"
	"github.com/lmipool/lmipool/internal/gostack"
	"github.com/lmipool/lmipool/internal/isolation"
	"github.com/lmipool/lmipool/internal/lane"
	"github.com/lmipool/lmipool/internal/pgdial"
	"github.com/lmipool/lmipool/internal/sched"
)

// Pool shares a few connections among many goroutines. Make one per process with
// [New] and use it from everywhere.
type Pool struct {
	workers
	cfg           Config
	px            *pgxpool.Pool
	sched         *sched.Scheduler
	stats         stats
	health        health
	lanes         *lane.Shared
	sessions      *isolation.Sessions
	ended         *deadconn.Maker // for the connections that nobody has any more
	writer        *pgdial.Writer
	dialer        *dialer
	rides         bool // statements may ride
	mode          pgx.QueryExecMode
	acquireTracer pgxpool.AcquireTracer // nil: none
	releaseTracer pgxpool.ReleaseTracer // nil: none

	ctx    context.Context // ends when the pool is closed; what dials and housekeeping run under
	cancel context.CancelFunc

	detached atomic.Int64  // ctxs from Detach that live
	inside   gostack.Sites // where the pool was used inside a transaction's function
}

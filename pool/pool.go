package pool

import (
	"context"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/internal/deadconn"
	"github.com/lmipool/lmipool/internal/gostack"
	"github.com/lmipool/lmipool/internal/isolation"
	"github.com/lmipool/lmipool/internal/lane"
	"github.com/lmipool/lmipool/internal/pgdial"
	"github.com/lmipool/lmipool/internal/sched"
	"github.com/lmipool/lmipool/internal/session"
)

// Pool shares a few connections among many goroutines. Make one per process with [New] and use it from everywhere.
type Pool struct {
	workers
	engine        engine // pooled or plain
	cfg           Config
	px            *pgxpool.Pool
	sched         *sched.Scheduler
	stats         stats
	health        health
	lanes         *lane.Shared
	sessions      *isolation.Sessions
	ended         *deadconn.Maker // makes the closed connections that are handed out where there is none
	writer        *pgdial.Writer
	dialer        *dialer
	rides         bool // statements may ride
	mode          pgx.QueryExecMode
	acquireTracer pgxpool.AcquireTracer // nil: none
	releaseTracer pgxpool.ReleaseTracer // nil: none

	ctx    context.Context // of dials and housekeeping; ends when the pool is closed
	cancel context.CancelFunc

	detached atomic.Int64  // ctxs from Detach that have not ended
	inside   gostack.Sites // where the pool was used inside a transaction's function
}

// engine runs the methods of a Pool, and those of a Bound with its settings. There are two engines: pooled, and plain with Config.Plain.
type engine interface {
	own(ctx context.Context) (*pgxpool.Conn, error) // pgxpool's connection for a lease; nil: the scheduler gives one
	exec(ctx context.Context, with *session.Settings, sql string, args []any) (pgconn.CommandTag, error)
	query(ctx context.Context, with *session.Settings, sql string, args []any) (pgx.Rows, error)
	queryRow(ctx context.Context, with *session.Settings, sql string, args []any) pgx.Row
	sendBatch(ctx context.Context, with *session.Settings, b *pgx.Batch) pgx.BatchResults
	copyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error)
	beginTx(ctx context.Context, with *session.Settings, opts pgx.TxOptions) (pgx.Tx, error)
	ping(ctx context.Context) error
	stat() *Stat
	reset()
	shutdown(ctx context.Context) error
}

// pooled is the engine that runs everything on connections from the scheduler.
type pooled struct{ *Pool }

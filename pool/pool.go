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

// engine is how a Pool, and a Bound with its settings, runs what it is asked for: pooled, or plain with Config.Plain.
type engine interface {
	own(ctx context.Context) (*pgxpool.Conn, error) // pgxpool's connection for a lease; nil: the pool lends one of its own
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

// pooled runs things on connections that the scheduler shares out.
type pooled struct{ *Pool }

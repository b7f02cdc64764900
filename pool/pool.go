package pool

import (
	"context"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/internal/deadconn"
	"github.com/lmipool/lmipool/internal/isolation"
	"github.com/lmipool/lmipool/internal/lane"
	"github.com/lmipool/lmipool/internal/member"
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
	ended         *deadconn.Maker // makes closed connections for callers of Conn when there is no open one
	writer        *pgdial.Writer
	dialer        *dialer
	member        *member.Member // nil if there is no fleet budget
	rides         bool           // Lanes is not Off
	mode          pgx.QueryExecMode
	acquireTracer pgxpool.AcquireTracer // the user's tracer; nil if it is no AcquireTracer
	releaseTracer pgxpool.ReleaseTracer // the user's tracer; nil if it is no ReleaseTracer

	cancel context.CancelFunc // ends workers.ctx

	detached atomic.Int64 // how many ctxs from Detach have not ended
	reports
}

// engine runs the methods of a Pool, and those of a Bound with its settings. There are two engines: pooled, and plain with Config.Plain.
type engine interface {
	own(ctx context.Context) (*pgxpool.Conn, error) // returns pgxpool's connection for a lease; nil if the scheduler is to give one
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

// on returns p's engine. It panics with a sentence if p is nil or not from New, which is a mistake in the caller's code.
func (p *Pool) on() engine {
	if p == nil || p.engine == nil {
		panic(errNoPool)
	}
	return p.engine
}

// pooled is the engine that runs everything on connections from the scheduler.
type pooled struct{ *Pool }

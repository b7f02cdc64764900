package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/lmipool/lmipool/pool"
)

// fifo is pgxpool with cancel requests, so that a cancel costs no connection. It stands for a plain queue: first in, first out, with deadlines.
const fifo = "fifo"

// rivals are the systems that are put under the same load, in this order.
var rivals = []string{lmipool, plain, fifo}

// openPressed makes a system with at most n connections and opens the first one. If fair is true, lmipool keeps callers of different keys apart.
func openPressed(ctx context.Context, name, connString string, n int, fair bool) (db, error) {
	d, err := makePressed(ctx, name, connString, n, fair)
	return opens(ctx, d, err)
}

func makePressed(ctx context.Context, name, connString string, n int, fair bool) (db, error) {
	if name == lmipool {
		c := &pool.Config{MaxConns: int32(n), Logger: slog.New(slog.DiscardHandler)} // the report counts the refusals, so nothing is logged
		if fair {
			c.FairBy = fairKey
		}
		return pool.New(ctx, connString, c)
	}
	return newPgxpool(ctx, connString, n, func(c *pgxpool.Config) {
		if name == fifo {
			c.ConnConfig.BuildContextWatcherHandler = func(pc *pgconn.PgConn) ctxwatch.Handler {
				return &pgconn.CancelRequestContextWatcherHandler{Conn: pc, DeadlineDelay: 5 * time.Second}
			}
		}
	})
}

// fateOf returns the fate of a call that returned err, and the expected service that a refusal names. over says whether the call's deadline had passed.
// Every refusal counts as fromQueue here; offer corrects that.
func fateOf(err error, over bool) (end fate, service time.Duration) {
	if err == nil && !over {
		return inTime, 0
	} else if err == nil {
		return late, 0
	}
	var refused *pool.NoTimeError
	if errors.As(err, &refused) {
		return fromQueue, refused.ExpectedService
	}
	var acquire *pool.AcquireError
	switch {
	case errors.As(err, &acquire) && errors.Is(err, context.DeadlineExceeded), err == context.DeadlineExceeded: //nolint:errorlint // pgxpool's, while it waits
		return inQueue, 0
	case errors.Is(err, context.DeadlineExceeded), pgconn.Timeout(err), over:
		return inFlight, 0
	}
	return broken, 0
}

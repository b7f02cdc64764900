package lmipool

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/lmipool/lmipool/internal/gostack"
	"github.com/lmipool/lmipool/internal/safelog"
	"github.com/lmipool/lmipool/observe"
	"github.com/lmipool/lmipool/pool"
)

// Usage returns what the invocation of ctx has asked of its pools so far: statements, rows, times, and the statement that it repeats. It is the zero value
// outside an invocation. See [pool.Usage].
func Usage(ctx context.Context) observe.Usage { return pool.Usage(ctx) }

// The functions here tell the observers what Handler does. They are called without locks.

func (b *bulkhead) tellOverrun(ctx context.Context, began time.Time, overrunning int) {
	if b.observers != nil {
		b.observers.Overrun(ctx, observe.Overrun{Start: began, At: time.Now(), Overrunning: overrunning, RequestID: requestID(ctx)})
	}
}

func (b *bulkhead) tellPanic(ctx context.Context, in string, v any, at []string) {
	if b.observers != nil {
		b.observers.Panic(ctx, observe.Panic{At: time.Now(), In: in, Value: cut(fmt.Sprint(v)), Place: at, RequestID: requestID(ctx)})
	}
}

func (b *bulkhead) tellStandDown(ctx context.Context, why string, number int) {
	if b.observers != nil {
		b.observers.StandDown(ctx, observe.StandDown{At: time.Now(), Why: why, Number: number})
	}
}

// sayPanic logs a caught panic with the value v, because a reply never shows the request id, and Config.OnPanic's reply may show nothing of the
// panic. The deferred function that recovered v must call sayPanic. b may be nil.
func sayPanic(ctx context.Context, b *bulkhead, what string, v any) {
	log, at := slog.Default(), gostack.Panicked()
	if b != nil {
		log = b.log
		b.tellPanic(ctx, what, v, at)
	}
	safelog.Guard(log).Error("lmipool: "+what+" panicked", safelog.Request(requestID(ctx)),
		slog.String("panic", cut(fmt.Sprint(v))), slog.String("type", fmt.Sprintf("%T", v)), slog.Any("stack", at))
}

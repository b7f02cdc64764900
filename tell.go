package lmipool

import (
	"context"
	"fmt"
	"time"

	"github.com/lmipool/lmipool/observe"
)

// The functions here tell the observers what Handler does. They are called without locks.

func (b *bulkhead) tellOverrun(ctx context.Context, began time.Time, overrunning int) {
	if b.observers != nil {
		b.observers.Overrun(ctx, observe.Overrun{Start: began, At: time.Now(), Overrunning: overrunning, RequestID: requestID(ctx)})
	}
}

func (b *bulkhead) tellPanic(ctx context.Context, in string, v any, at []string) {
	if b.observers != nil {
		b.observers.Panic(ctx, observe.Panic{At: time.Now(), In: in, Value: fmt.Sprint(v), Place: at, RequestID: requestID(ctx)})
	}
}

func (b *bulkhead) tellStandDown(ctx context.Context, why string, number int) {
	if b.observers != nil {
		b.observers.StandDown(ctx, observe.StandDown{At: time.Now(), Why: why, Number: number})
	}
}

package pool

import (
	"context"
	"errors"
)

// What callers get who hand over nothing. A ctx that is nil is a panic, as in package context.
var (
	errNoBatch  = errors.New("lmipool: SendBatch: the batch is nil")
	errNoSource = errors.New("lmipool: CopyFrom: the source is nil")
	errNoFunc   = errors.New("lmipool: the function is nil")
	errNoPool   = errors.New("lmipool: the pool is nil: look at Open's error before its result is used")
)

func mustHave(ctx context.Context) {
	if ctx == nil {
		panic("lmipool: the ctx is nil: use context.Background, or the handler's")
	}
}

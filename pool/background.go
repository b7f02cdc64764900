package pool

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// workers are a pool's goroutines. A panic in one is logged, not fatal: unrecovered, it would end every invocation of the process.
type workers struct {
	log    *slog.Logger
	wg     sync.WaitGroup // every goroutine of the pool; Shutdown waits for them
	panics atomic.Int64   // that were caught
}

// background runs f in a goroutine of its own. f keeps the books in its own defers.
func (w *workers) background(what string, f func()) {
	w.wg.Go(func() { w.protect(what, f) })
}

// protect runs f and logs a panic of it.
func (w *workers) protect(what string, f func()) {
	_ = w.catchPanic(what, func() error { f(); return nil }) // it has been logged
}

// catchPanic runs f and turns a panic into an error, after logging it with its stack.
func (w *workers) catchPanic(what string, f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("lmipool: %s panicked: %v", what, v)
			w.panics.Add(1)
			w.log.Error("lmipool: "+what+" panicked", slog.Any("panic", v), slog.String("stack", string(debug.Stack())))
		}
	}()
	return f()
}

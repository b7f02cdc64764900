package pool

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lmipool/lmipool/internal/gostack"
	"github.com/lmipool/lmipool/internal/pgcancel"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/tell"
	"github.com/lmipool/lmipool/observe"
)

// workers runs a pool's goroutines. It recovers and logs their panics, which would otherwise end the process with all its invocations.
type workers struct {
	log    *slog.Logger
	wg     sync.WaitGroup // every goroutine of the pool; Shutdown waits for them
	panics atomic.Int64   // how many panics were caught

	observers *tell.Observers // nil if nobody wants to hear of anything
	ctx       context.Context // the ctx of dials, housekeeping and events without a caller; ends when the pool is closed
}

// background runs f in a goroutine of its own. f has to defer what must happen even if f panics.
func (w *workers) background(what string, f func()) { w.wg.Go(func() { w.protect(what, f) }) }

// protect runs f, and recovers and logs a panic.
func (w *workers) protect(what string, f func()) {
	_ = w.catchPanic(what, func() error { f(); return nil }) // the error has been logged
}

// catchPanic runs f and turns a panic into an error, after logging it with its stack.
func (w *workers) catchPanic(what string, f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = pgerr.Say[pgerr.CallbackPanicError](fmt.Sprintf("lmipool: %s panicked: %v", what, v))
			w.panics.Add(1)
			w.tellPanic(what, v, gostack.Panicked())
			w.log.Error("lmipool: "+what+" panicked", slog.String("panic", fmt.Sprint(v)), slog.Any("stack", gostack.Panicked()))
		}
	}()
	return f()
}

// tellPanic tells the observers of a panic with the value v.
func (w *workers) tellPanic(what string, v any, at []string) {
	if w.observers != nil {
		w.observers.Panic(w.ctx, observe.Panic{At: time.Now(), In: what, Value: fmt.Sprint(v), Place: at})
	}
}

// tellCancel tells the observers of a cancel request that is over.
func (w *workers) tellCancel(o pgcancel.Over) {
	w.observers.Cancel(w.ctx, observe.Cancel{Start: o.Since, End: time.Now(), Sent: o.Sent, Lost: o.Lost, Server: o.Server})
}

// onlyIf returns f if wanted is true, else nil.
func onlyIf[F any](wanted bool, f F) (_ F) {
	if wanted {
		return f
	}
	return
}

// isolate is catchPanic for a dial's hook, in a goroutine of its own: if f called runtime.Goexit in the dial's goroutine, pgxpool's Close would hang.
func (w *workers) isolate(what string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		err := pgerr.Say[pgerr.CallbackPanicError]("lmipool: " + what + " ended its goroutine (runtime.Goexit)")
		defer func() { done <- err }()
		err = w.catchPanic(what, f)
	}()
	return <-done
}

package pool

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/lmipool/lmipool/internal/gostack"
	"github.com/lmipool/lmipool/internal/pgerr"
)

// workers runs a pool's goroutines. It recovers and logs their panics, which would otherwise end the process with all its invocations.
type workers struct {
	log    *slog.Logger
	wg     sync.WaitGroup // every goroutine of the pool; Shutdown waits for them
	panics atomic.Int64   // how many panics were caught
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
			w.log.Error("lmipool: "+what+" panicked", slog.Any("panic", v), slog.Any("stack", gostack.Panicked()))
		}
	}()
	return f()
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

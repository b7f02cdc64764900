package lmipool

import (
	"context"
	"log/slog"
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/lmipool/lmipool/pool"
)

// Lambda kills the process 500 to 600 ms after SIGTERM. Callbacks of the user's own get
// graceToCall, what is out then gets graceToEnd to come back; closing it, and a cancelled
// statement's last words, take the rest.
const (
	graceToCall = 150 * time.Millisecond
	graceToEnd  = 100 * time.Millisecond
	terminateBy = 400 * time.Millisecond
)

// Start is lambda.StartWithOptions with fn wrapped by [Handler], and an orderly end:
// on SIGTERM the environment takes no new work, leases get 100 ms to come back, and
// every connection is closed with Terminate, in parallel, so that PostgreSQL does not
// have to find out. One log line says how that went. Start does not return.
//
// Callbacks in options (lambda.WithEnableSIGTERM) run first, and may use db. After 150 ms
// db is closed also if they have not returned: Lambda leaves 500 ms for all of it.
//
// Lambda sends SIGTERM only to environments that have an extension; Start registers
// the internal one that aws-lambda-go has for that. For other shapes of handler:
//
//	lambda.StartWithOptions(lmipool.Wrap(db, handler), lmipool.WithSIGTERM(db))
func Start[In, Out any](db *Pool, fn func(context.Context, In) (Out, error), options ...lambda.Option) {
	h := handlerFor("Start", db, fn, nil)
	first := lambda.WithEnableSIGTERM(db.terminateSoon)
	lambda.StartWithOptions(h, append(append([]lambda.Option{first}, options...), WithSIGTERM(db))...)
}

// WithSIGTERM is the orderly end of [Start] as an option. aws-lambda-go runs callbacks one
// after the other, in the order of the options, so it belongs behind those of one's own.
func WithSIGTERM(db *Pool) lambda.Option {
	inside("WithSIGTERM", db)
	return lambda.WithEnableSIGTERM(db.terminate)
}

// terminateSoon takes no new work from now on, and closes db when callbacks have had their time.
func (p *Pool) terminateSoon() {
	p.bulkhead.shutDown()
	time.AfterFunc(graceToCall, p.terminate)
}

// terminate closes db within the time that Lambda leaves.
func (p *Pool) terminate() {
	p.terminated.Do(func() {
		p.bulkhead.shutDown()
		p.closeWithin("SIGTERM")
	})
}

// closeWithin closes db within terminateBy, and says how that went.
func (p *Pool) closeWithin(why string) {
	began := time.Now()
	open := p.Stat().TotalConns()
	done := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), graceToEnd)
		defer cancel()
		done <- p.Shutdown(ctx)
	}()
	t := time.NewTimer(terminateBy)
	defer t.Stop()
	log := p.bulkhead.log.With(slog.Int("connections", int(open)))
	select {
	case err := <-done:
		log.Info("lmipool: "+why+": all connections closed", "took", time.Since(began), "error", err)
	case <-t.C:
		log.Warn("lmipool: "+why+": not all connections are closed yet", "took", time.Since(began), "open", p.Stat().TotalConns())
	}
}

// Detach returns a ctx for work that may outlive its invocation: it has ctx's values,
// does not end with ctx, is outside the invocation's scope, and ends after timeout (0
// means 30 seconds) or with cancel, which must be called when the work is done. See
// [pool.Detach].
//
// Without it a goroutine that goes on after the reply finds its ctx ended and the pool
// closed to it; and a leader that works for several invocations (singleflight) would
// fail them all when its own ends.
func Detach(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	return pool.Detach(ctx, timeout)
}

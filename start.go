package lmipool

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/lmipool/lmipool/internal/eventlog"
	"github.com/lmipool/lmipool/internal/safelog"
	"github.com/lmipool/lmipool/pool"
)

// Lambda kills the process 500 to 600 ms after SIGTERM. The user's callbacks have graceToCall. Then leases have graceToEnd to come back. What remains
// of terminateBy, which starts when closing begins, is for closing connections and cancelling statements.
const (
	graceToCall = 150 * time.Millisecond
	graceToEnd  = 100 * time.Millisecond
	terminateBy = 400 * time.Millisecond
)

// Start calls lambda.StartWithOptions with fn wrapped by [Handler], and closes db on SIGTERM: the environment refuses new invocations, leases get 100
// ms to come back, and all connections are closed with Terminate, in parallel, so that PostgreSQL ends their sessions at once. One log line says how
// long that took and whether it succeeded. If nothing is in use, it takes as long as PostgreSQL needs to end its processes: on a busy machine that
// was 3 to 35 ms, and once 110 ms. The process lives on until Lambda kills it. Start does not return.
//
// Callbacks in options (lambda.WithEnableSIGTERM) run first, and may use db. After 150 ms db is closed even if they have not returned, since Lambda
// gives the process only 500 ms for everything.
//
// Lambda sends SIGTERM only to environments that have an extension; Start registers aws-lambda-go's internal extension for that. For other shapes of
// handler:
//
//	lambda.StartWithOptions(lmipool.Wrap(db, handler), lmipool.WithSIGTERM(db))
func Start[In, Out any](db *Pool, fn func(context.Context, In) (Out, error), options ...lambda.Option) {
	h := handlerFor("Start", db, fn, nil)
	first := lambda.WithEnableSIGTERM(db.terminateSoon)
	lambda.StartWithOptions(h, append(append([]lambda.Option{first}, options...), WithSIGTERM(db))...)
}

// WithSIGTERM returns an option that closes db on SIGTERM, as [Start] does. aws-lambda-go runs callbacks one after the other, in the order of the
// options, so put WithSIGTERM behind options with your own callbacks.
func WithSIGTERM(db *Pool) lambda.Option {
	inside("WithSIGTERM", db)
	return lambda.WithEnableSIGTERM(db.terminate)
}

// terminateSoon refuses new invocations from now on, and closes db after graceToCall.
func (p *Pool) terminateSoon() {
	p.bulkhead.shutDown()
	time.AfterFunc(graceToCall, p.terminate)
}

// terminate closes db within the time that Lambda leaves.
func (p *Pool) terminate() {
	p.terminated.Do(func() {
		p.bulkhead.shutDown()
		p.closeWithin("SIGTERM")
		p.last.Write(eventlog.AtSIGTERM, true)
	})
}

// closeWithin closes db within terminateBy, and logs whether that succeeded.
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
	log, connections := p.bulkhead.log, slog.Int("connections", int(open))
	select {
	case err := <-done:
		var failed slog.Attr
		if err != nil {
			failed = slog.Any("error", err)
		}
		log.Info("lmipool: "+why+": all connections closed", connections, safelog.Ms("took", time.Since(began)), slog.Group("totals", p.totals()...), failed)
	case <-t.C:
		log.Warn("lmipool: "+why+": not all connections are closed yet", connections, safelog.Ms("took", time.Since(began)), "open", p.Stat().TotalConns(), slog.Group("totals", p.totals()...))
	}
}

// totals counts the invocations since Open and what went wrong in them, including what was mended and has no line in the log. What never happened is left
// out.
func (p *Pool) totals() []any {
	s, h := p.Stat(), p.HandlerStat()
	i := s.Invocations()
	totals := []any{slog.Int64("invocations", h.Durations.Count)}
	for _, of := range []struct {
		name string
		n    int64
	}{
		{"overruns", h.Overruns},
		{"panics", h.Panics},
		{"late_replies", h.LateReplies},
		{"refused_invocations", h.Refused},
		{"leaks", i.Leaks},
		{"late_uses", i.LateUses},
		{"nested", i.Nested},
		{"resets", i.Resets},
		{"unclean", i.Unclean},
		{"refused_callers", s.RefusedCount()},
		{"alone_by_function", s.Lanes().Alone["function"]},
		{"failed_dials", s.Dials().Failed},
	} {
		if of.n > 0 {
			totals = append(totals, slog.Int64(of.name, of.n))
		}
	}
	return totals
}

// Detach returns a ctx for work that may go on after its invocation. It has ctx's values, does not end when ctx ends, is outside the invocation's
// scope, and ends after timeout (0 means 30 seconds) or when cancel is called. Call cancel when the work is done. See [pool.Detach].
//
// Without Detach a goroutine that goes on after the reply gets [pool.ErrInvocationEnded] from the pool. And if one invocation does the work of
// several (singleflight), its end would make all of them fail.
func Detach(ctx context.Context, timeout time.Duration) (context.Context, context.CancelFunc) {
	return pool.Detach(ctx, timeout)
}

// endProcess closes the pool and exits. It is called if aws-lambda-go was asked to exit and has not exited.
func (p *Pool) endProcess() {
	b := p.bulkhead
	b.mu.Lock()
	asked, refused := b.down.asked, b.stat.Refused
	b.mu.Unlock()
	b.log.Error("lmipool: standing down was not heard: invocations still arrive. "+
		"Something around the handler swallows the error that asks aws-lambda-go to exit (a reply with status 500, a list of failed records, a wrapped error): "+
		"put it inside, as the function that Handler or Wrap is given. The process ends now",
		safelog.Ms("asked", time.Since(asked)), slog.Int64("refused", refused))
	p.closeWithin("standing down")
	os.Exit(1)
}

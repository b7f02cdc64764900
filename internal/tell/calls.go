package tell

import (
	"context"

	"github.com/lmipool/lmipool/observe"
)

// The methods here call the observers of one kind of event, one after the other.

func (s *Observers) Acquire(ctx context.Context, e observe.Acquire) {
	each(s, s.acquire, observe.AcquireObserver.ObserveAcquire, ctx, &e)
}

func (s *Observers) Release(ctx context.Context, e observe.Release) {
	each(s, s.release, observe.ReleaseObserver.ObserveRelease, ctx, &e)
}

func (s *Observers) Statement(ctx context.Context, e observe.Statement) {
	each(s, s.statement, observe.StatementObserver.ObserveStatement, ctx, &e)
}

func (s *Observers) Invocation(ctx context.Context, e observe.Invocation) {
	each(s, s.invocation, observe.InvocationObserver.ObserveInvocation, ctx, &e)
}

func (s *Observers) Flight(ctx context.Context, e observe.Flight) {
	each(s, s.flight, observe.FlightObserver.ObserveFlight, ctx, &e)
}

func (s *Observers) Dial(ctx context.Context, e observe.Dial) {
	each(s, s.dial, observe.DialObserver.ObserveDial, ctx, &e)
}

func (s *Observers) Reset(ctx context.Context, e observe.Reset) {
	each(s, s.reset, observe.ResetObserver.ObserveReset, ctx, &e)
}

func (s *Observers) Cancel(ctx context.Context, e observe.Cancel) {
	each(s, s.cancel, observe.CancelObserver.ObserveCancel, ctx, &e)
}

func (s *Observers) Limit(ctx context.Context, e observe.Limit) {
	each(s, s.limit, observe.LimitObserver.ObserveLimit, ctx, &e)
}

func (s *Observers) Refused(ctx context.Context, e observe.Refusal) {
	each(s, s.refused, observe.RefusedObserver.ObserveRefused, ctx, &e)
}

func (s *Observers) Leak(ctx context.Context, e observe.Leak) {
	each(s, s.leak, observe.LeakObserver.ObserveLeak, ctx, &e)
}

func (s *Observers) Overrun(ctx context.Context, e observe.Overrun) {
	each(s, s.overrun, observe.OverrunObserver.ObserveOverrun, ctx, &e)
}

func (s *Observers) Panic(ctx context.Context, e observe.Panic) {
	each(s, s.panicked, observe.PanicObserver.ObservePanic, ctx, &e)
}

func (s *Observers) Fence(ctx context.Context, e observe.Fence) {
	each(s, s.fence, observe.FenceObserver.ObserveFence, ctx, &e)
}

func (s *Observers) StandDown(ctx context.Context, e observe.StandDown) {
	each(s, s.standDown, observe.StandDownObserver.ObserveStandDown, ctx, &e)
}

func (s *Observers) Shutdown(ctx context.Context, e observe.Shutdown) {
	each(s, s.shutdown, observe.ShutdownObserver.ObserveShutdown, ctx, &e)
}

func (s *Observers) Slow(ctx context.Context, e observe.Statement) {
	each(s, s.slow, observe.SlowObserver.ObserveSlow, ctx, &e)
}

// Package tell tells observers what happened. A pool has one [Observers], or nil if nobody wants to hear of anything.
package tell

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"sync/atomic"
	"time"

	"github.com/lmipool/lmipool/internal/gostack"
	"github.com/lmipool/lmipool/observe"
)

// Observers has for each kind of event those who want to hear of it. Its methods must be called without any lock. A nil *Observers must not be used.
type Observers struct {
	log    *slog.Logger
	panics *atomic.Int64 // counts the observers' panics

	tally gostack.Tally // the places of panics that were logged

	acquire    []observe.AcquireObserver
	release    []observe.ReleaseObserver
	statement  []observe.StatementObserver
	slow       []observe.SlowObserver
	invocation []observe.InvocationObserver
	flight     []observe.FlightObserver
	dial       []observe.DialObserver
	reset      []observe.ResetObserver
	cancel     []observe.CancelObserver
	limit      []observe.LimitObserver
	refused    []observe.RefusedObserver
	leak       []observe.LeakObserver
	overrun    []observe.OverrunObserver
	panicked   []observe.PanicObserver
	fence      []observe.FenceObserver
	standDown  []observe.StandDownObserver
	shutdown   []observe.ShutdownObserver
}

// New returns the Observers of all, or nil if all is empty. Its error names each value that is no observer. panics counts the panics of the observers.
func New(all []any, log *slog.Logger, panics *atomic.Int64) (*Observers, error) {
	if len(all) == 0 {
		return nil, nil //nolint:nilnil // nil has a meaning
	}
	s := &Observers{log: log, panics: panics}
	kinds := s.kinds()
	for i, v := range all {
		if err := add(kinds, v); err != nil {
			return nil, fmt.Errorf("lmipool: Config.Observers[%d] is %w", i, err)
		}
	}
	return s, nil
}

// WantAcquires and the functions below it report whether anybody wants to hear of an event that is frequent. s may be nil.
func (s *Observers) WantAcquires() bool    { return s != nil && len(s.acquire) > 0 }
func (s *Observers) WantReleases() bool    { return s != nil && len(s.release) > 0 }
func (s *Observers) WantStatements() bool  { return s != nil && len(s.statement) > 0 }
func (s *Observers) WantFlights() bool     { return s != nil && len(s.flight) > 0 }
func (s *Observers) WantInvocations() bool { return s != nil && len(s.invocation) > 0 }

// kind is one of the interfaces of package observe.
type kind struct {
	name string                  // of the interface's method
	in   reflect.Type            // a func that takes an observer, the ctx and the event
	has  func(reflect.Type) bool // reports whether a type has a method of that name
	add  func(v any) bool        // adds v to those who have the method; returns false if v has it not
}

// kinds names each method in a call of MethodByName. If the name were a variable there, or if Method were called, the linker would keep all exported
// methods of all types: each handler's binary would be 2 MB larger.
func (s *Observers) kinds() []kind {
	return []kind{
		of(&s.acquire, "ObserveAcquire", observe.AcquireObserver.ObserveAcquire, func(t reflect.Type) bool { _, ok := t.MethodByName("ObserveAcquire"); return ok }),
		of(&s.release, "ObserveRelease", observe.ReleaseObserver.ObserveRelease, func(t reflect.Type) bool { _, ok := t.MethodByName("ObserveRelease"); return ok }),
		of(&s.statement, "ObserveStatement", observe.StatementObserver.ObserveStatement, func(t reflect.Type) bool { _, ok := t.MethodByName("ObserveStatement"); return ok }),
		of(&s.slow, "ObserveSlow", observe.SlowObserver.ObserveSlow, func(t reflect.Type) bool { _, ok := t.MethodByName("ObserveSlow"); return ok }),
		of(&s.invocation, "ObserveInvocation", observe.InvocationObserver.ObserveInvocation, func(t reflect.Type) bool { _, ok := t.MethodByName("ObserveInvocation"); return ok }),
		of(&s.flight, "ObserveFlight", observe.FlightObserver.ObserveFlight, func(t reflect.Type) bool { _, ok := t.MethodByName("ObserveFlight"); return ok }),
		of(&s.dial, "ObserveDial", observe.DialObserver.ObserveDial, func(t reflect.Type) bool { _, ok := t.MethodByName("ObserveDial"); return ok }),
		of(&s.reset, "ObserveReset", observe.ResetObserver.ObserveReset, func(t reflect.Type) bool { _, ok := t.MethodByName("ObserveReset"); return ok }),
		of(&s.cancel, "ObserveCancel", observe.CancelObserver.ObserveCancel, func(t reflect.Type) bool { _, ok := t.MethodByName("ObserveCancel"); return ok }),
		of(&s.limit, "ObserveLimit", observe.LimitObserver.ObserveLimit, func(t reflect.Type) bool { _, ok := t.MethodByName("ObserveLimit"); return ok }),
		of(&s.refused, "ObserveRefused", observe.RefusedObserver.ObserveRefused, func(t reflect.Type) bool { _, ok := t.MethodByName("ObserveRefused"); return ok }),
		of(&s.leak, "ObserveLeak", observe.LeakObserver.ObserveLeak, func(t reflect.Type) bool { _, ok := t.MethodByName("ObserveLeak"); return ok }),
		of(&s.overrun, "ObserveOverrun", observe.OverrunObserver.ObserveOverrun, func(t reflect.Type) bool { _, ok := t.MethodByName("ObserveOverrun"); return ok }),
		of(&s.panicked, "ObservePanic", observe.PanicObserver.ObservePanic, func(t reflect.Type) bool { _, ok := t.MethodByName("ObservePanic"); return ok }),
		of(&s.fence, "ObserveFence", observe.FenceObserver.ObserveFence, func(t reflect.Type) bool { _, ok := t.MethodByName("ObserveFence"); return ok }),
		of(&s.standDown, "ObserveStandDown", observe.StandDownObserver.ObserveStandDown, func(t reflect.Type) bool { _, ok := t.MethodByName("ObserveStandDown"); return ok }),
		of(&s.shutdown, "ObserveShutdown", observe.ShutdownObserver.ObserveShutdown, func(t reflect.Type) bool { _, ok := t.MethodByName("ObserveShutdown"); return ok }),
	}
}

// of returns the kind of the observers in list, which have the method f.
func of[O, E any](list *[]O, name string, f func(O, context.Context, E), has func(reflect.Type) bool) kind {
	return kind{name, reflect.TypeOf(f), has, func(v any) bool {
		o, ok := v.(O)
		if ok {
			*list = append(*list, o)
		}
		return ok
	}}
}

// add adds v to each kind whose method it has. It returns an error if v has none of the methods, or one with other parameters.
func add(kinds []kind, v any) error {
	if v == nil {
		return fmt.Errorf("nil: want an observer: %s", methods(kinds))
	}
	if r := reflect.ValueOf(v); r.Kind() == reflect.Pointer && r.IsNil() {
		return fmt.Errorf("a nil %T: look at the error of the function that made it before its result is used", v)
	}
	any := false
	for _, k := range kinds {
		if k.add(v) {
			any = true
		} else if k.has(reflect.TypeOf(v)) {
			return fmt.Errorf("a %T, whose method %s is not that of package observe: want %s(%v, %v)", v, k.name, k.name, k.in.In(1), k.in.In(2))
		}
	}
	if any {
		return nil
	}
	if p := reflect.PointerTo(reflect.TypeOf(v)); p.NumMethod() > 0 {
		for _, k := range kinds {
			if k.has(p) {
				return fmt.Errorf("a %T, and its method %s has a pointer receiver: want a *%T", v, k.name, v)
			}
		}
	}
	return fmt.Errorf("a %T, which has none of the methods of an observer: want one of %s", v, methods(kinds))
}

// methods lists the names of the methods that an observer may have.
func methods(kinds []kind) string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = k.name
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last] + " (package observe)"
}

// each calls f with each observer of list, ctx and e. It takes a pointer, since an event has up to 300 bytes, and is copied for each observer anyway.
func each[O, E any](s *Observers, list []O, f func(O, context.Context, E), ctx context.Context, e *E) {
	for _, o := range list {
		one(s, o, f, ctx, e)
	}
}

func one[O, E any](s *Observers, o O, f func(O, context.Context, E), ctx context.Context, e *E) {
	defer s.recovers()
	f(o, ctx, *e)
}

// recovers is deferred around the call of an observer. It logs a panic: each place at once, and then once a minute at most.
func (s *Observers) recovers() {
	v := recover()
	if v == nil {
		return
	}
	s.panics.Add(1)
	at := gostack.Panicked()
	place := strings.Join(at[:min(1, len(at))], "")
	const message = "lmipool: an observer panicked"
	if count, say := s.tally.Count(message, place, time.Now()); say {
		s.log.Error(message, append([]any{slog.String("panic", fmt.Sprint(v)), slog.Any("stack", at)}, count...)...)
	}
}

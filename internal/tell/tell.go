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
			return nil, fmt.Errorf("lmipool: Config.Observers[%d] is %s", i, err)
		}
	}
	return s, nil
}

// WantInvocations reports whether anybody wants to hear of invocations.
func (s *Observers) WantInvocations() bool { return len(s.invocation) > 0 }

// kind is one of the interfaces of package observe.
type kind struct {
	reflect.Method                  // the interface's method
	add            func(v any) bool // adds v to those who have the method; returns false if v has it not
}

func (s *Observers) kinds() []kind {
	return []kind{
		of(&s.acquire), of(&s.release), of(&s.statement), of(&s.invocation), of(&s.flight), of(&s.dial), of(&s.reset), of(&s.cancel), of(&s.limit),
		of(&s.refused), of(&s.leak), of(&s.overrun), of(&s.panicked), of(&s.fence), of(&s.standDown), of(&s.shutdown),
	}
}

// of returns the kind of the observers in list.
func of[O any](list *[]O) kind {
	return kind{reflect.TypeFor[O]().Method(0), func(v any) bool {
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
	any := false
	for _, k := range kinds {
		if k.add(v) {
			any = true
		} else if _, named := reflect.TypeOf(v).MethodByName(k.Name); named {
			return fmt.Errorf("a %T, whose method %s is not that of package observe: want %s", v, k.Name, strings.Replace(k.Type.String(), "func", k.Name, 1))
		}
	}
	if any {
		return nil
	}
	if p := reflect.PointerTo(reflect.TypeOf(v)); p.NumMethod() > 0 {
		for _, k := range kinds {
			if _, named := p.MethodByName(k.Name); named {
				return fmt.Errorf("a %T, and its method %s has a pointer receiver: want a *%T", v, k.Name, v)
			}
		}
	}
	return fmt.Errorf("a %T, which has none of the methods of an observer: want one of %s", v, methods(kinds))
}

// methods lists the names of the methods that an observer may have.
func methods(kinds []kind) string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = k.Name
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last] + " (package observe)"
}

// each calls f with each observer of list, ctx and e.
func each[O, E any](s *Observers, list []O, f func(O, context.Context, E), ctx context.Context, e E) {
	for _, o := range list {
		one(s, o, f, ctx, e)
	}
}

func one[O, E any](s *Observers, o O, f func(O, context.Context, E), ctx context.Context, e E) {
	defer s.recovers()
	f(o, ctx, e)
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

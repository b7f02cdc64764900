package tell

import (
	"bytes"
	"context"
	"log/slog"
	"reflect"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/observe"
)

type dials struct{ n *int }

func (d dials) ObserveDial(context.Context, observe.Dial) { *d.n++ }

type wrong struct{ dials }

func (wrong) ObserveFlight(observe.Flight) {}

type byPointer struct{}

func (*byPointer) ObserveDial(context.Context, observe.Dial) {}

type panics struct{}

func (panics) ObserveDial(context.Context, observe.Dial) { panic("boom") }

func (panics) ObserveReset(context.Context, observe.Reset) { panic("bang") }

// What is no observer is refused, with a sentence that says what one would be.
func TestWhatIsNoObserverIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		v    any
		says string
	}{
		{nil, "Config.Observers[1] is nil: want an observer: ObserveAcquire, ObserveRelease"},
		{(*dials)(nil), "Config.Observers[1] is a nil *tell.dials: look at the error"},
		{"text", "Config.Observers[1] is a string, which has none of the methods of an observer: want one of ObserveAcquire, "},
		{wrong{}, "Config.Observers[1] is a tell.wrong, whose method ObserveFlight is not that of package observe: want ObserveFlight(context.Context, observe.Flight)"},
		{byPointer{}, "Config.Observers[1] is a tell.byPointer, and its method ObserveDial has a pointer receiver: want a *tell.byPointer"},
	} {
		_, err := New([]any{dials{new(int)}, c.v}, slog.Default(), new(atomic.Int64))
		require.ErrorContains(t, err, c.says)
	}
	none, err := New(nil, slog.Default(), nil)
	require.NoError(t, err)
	assert.Nil(t, none)
}

// A panic of one observer is counted, logged once for each place, and keeps no other from being called.
func TestAPanicOfAnObserverStaysInside(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	var count atomic.Int64
	n := 0
	s, err := New([]any{panics{}, dials{&n}}, slog.New(slog.NewTextHandler(&log, nil)), &count)
	require.NoError(t, err)
	for range 10 {
		s.Dial(t.Context(), observe.Dial{})
		func() { s.Dial(t.Context(), observe.Dial{}) }() // another caller, and the same place
		s.Reset(t.Context(), observe.Reset{})
	}
	assert.Equal(t, 20, n)
	assert.EqualValues(t, 30, count.Load())
	assert.Equal(t, 1, bytes.Count(log.Bytes(), []byte("boom")), "%s", &log)
	assert.Equal(t, 1, bytes.Count(log.Bytes(), []byte("bang")), "%s", &log)
	assert.Contains(t, log.String(), "tell_test.go:")
}

// Each kind of event has its method, and its observers.
func TestEachKindIsTold(t *testing.T) {
	t.Parallel()
	s := &Observers{}
	of := reflect.TypeOf(s)
	for _, k := range s.kinds() {
		name := k.name[len("Observe"):]
		m, ok := of.MethodByName(name)
		require.True(t, ok, name)
		assert.Equal(t, k.in.In(2), m.Type.In(2), name)
	}
	assert.Equal(t, len(s.kinds())+5, of.NumMethod(), "the kinds that have a method, and the five that ask")
}

// Nothing is allocated when an observer is told.
func TestTellingAllocatesNothing(t *testing.T) {
	n := 0
	s, err := New([]any{dials{&n}, dials{&n}}, slog.Default(), new(atomic.Int64))
	require.NoError(t, err)
	ctx := t.Context()
	assert.Zero(t, testing.AllocsPerRun(100, func() { s.Dial(ctx, observe.Dial{}) }))
}

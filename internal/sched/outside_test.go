package sched

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The same programs as TestTheCeilingIsNeverExceeded's, with connections outside. holds sees that Max is never exceeded.
func TestConnectionsOutsideCountUnderTheCeiling(t *testing.T) {
	t.Parallel()
	both, above := 0, 0
	const steps = 500
	for seed := range uint64(30) {
		step, open := 0, 0 // open: those outside that have a place and are not being closed
		run(t, seed, steps, func(w *world) {
			o := &w.k.growth.outside
			switch step++; w.rnd.IntN(12) {
			case 0:
				o.kept = w.rnd.IntN(w.k.growth.max)
			case 1:
				w.ceil = w.rnd.IntN(8)
			case 2, 3, 4:
				o.open++ // somebody waits for a place
			case 5, 6, 7:
				if o.open > open && w.k.growth.hasPlaceOutside(len(w.k.stock.all)) {
					o.used++
					open++
				}
			case 8:
				if o.open--; o.open < open {
					open--
				}
			case 9, 10:
				if o.used > open {
					o.used--
				}
			}
			o.open = max(o.open, 0)
			if step == steps {
				*o = outside{}
			}
			open = max(open, 0)
			w.k.setCeiling(w.ceil, w.now)
			w.do(w.k.out.done())
			w.holds()
			if o.used > 0 && w.k.stock.held > 0 {
				both++
			}
			if o.used > o.most(w.k.growth.places()) {
				above++
			}
		})
	}
	assert.NotZero(t, both, "both sides have connections")
	assert.NotZero(t, above, "at times more is used outside than a new ceiling allows")
}

func TestAPlaceIsWaitedFor(t *testing.T) {
	t.Parallel()
	var closing []*Conn
	cfg := testConfig(3)
	cfg.Close = func(c *Conn) { closing = append(closing, c) }
	s := New(cfg)
	conns := []*Conn{{}, {}, {}}
	for _, c := range conns {
		s.core.growth.dialing++
		s.Dialed(c, time.Millisecond)
	}
	soon, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	s.Reserve(1)
	require.Equal(t, conns[:1], closing)
	require.ErrorIs(t, s.TakePlace(soon), context.DeadlineExceeded, "one is being closed")
	took := make(chan error)
	go func() { took <- s.TakePlace(t.Context()) }()
	s.Drop(conns[0])
	require.NoError(t, <-took)
	assert.Equal(t, 2, s.Stats().Ceiling)

	go func() { took <- s.TakePlace(t.Context()) }() // the first was hijacked, so there is one more
	for s.Stats().Ceiling > 1 {
		time.Sleep(time.Millisecond)
	}
	require.Equal(t, conns[:2], closing)
	s.Drop(conns[1])
	require.NoError(t, <-took)
	used, most, all := s.Places()
	assert.Equal(t, []int{2, 2, 3}, []int{used, most, all})
	require.ErrorIs(t, s.TakePlace(soon), context.DeadlineExceeded, "the last one is the scheduler's")

	s.SetCeiling(1)
	used, most, all = s.Places()
	assert.Equal(t, []int{2, 0, 1}, []int{used, most, all})
	assert.Equal(t, 1, s.Stats().Ceiling)
	s.SetCeiling(3)
	s.LeavePlace()
	s.FreePlace()
	s.Reserve(0)
	assert.Equal(t, 2, s.Stats().Ceiling, "one is open, and nothing is kept")

	go func() { took <- s.TakePlace(t.Context()) }() // conns[2] and one outside are there, so this one gets the last place
	require.NoError(t, <-took)
	go func() { took <- s.TakePlace(t.Context()) }()
	for !waitsForPlace(s) {
		time.Sleep(time.Millisecond)
	}
	s.Close()
	require.ErrorIs(t, <-took, ErrClosed)
	require.ErrorIs(t, s.TakePlace(t.Context()), ErrClosed)
	s.Drop(conns[2])
	s.FreePlace()
	select {
	case <-s.Empty():
		t.Fatal("a connection outside is still there")
	default:
	}
	s.FreePlace()
	<-s.Empty()
}

func waitsForPlace(s *Scheduler) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.core.growth.outside.room != nil
}

package sched

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// gate is a group whose requests have their answers, and a queue in which others wait.
func gate(waiting int) (s *Scheduler, g *Group, brought []*Request) {
	s = New(testConfig(1))
	c := &Conn{Shares: true}
	g = &Group{conn: c}
	c.holder, s.core.stock.all = &g.Holder, []*Conn{c}
	queue := func(n int) {
		for range n {
			s.core.queue.push(&Request{Share: &share{}}, false)
		}
	}
	queue(2)
	g.board(&s.core.queue, time.Second, time.Now())
	brought = g.Requests
	queue(waiting)
	return s, g, brought
}

func board(s *Scheduler, g *Group) bool {
	s.Await(g)
	return s.Next(g, false)
}

func TestAGroupWaitsForThoseItHasJustBrought(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, g, brought := gate(2)
		boarded := false
		go func() { boarded = board(s, g) }()
		for _, r := range brought {
			synctest.Wait()
			assert.False(t, boarded, "one of them has not had a CPU yet")
			r.goesOn()
		}
		synctest.Wait()
		assert.True(t, boarded)
		assert.Len(t, g.Requests, 2)
		assert.False(t, g.Last)
	})
}

func TestAGroupThatIsFullWithoutThemDoesNotWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, g, brought := gate(32)
		boarded := false
		go func() { boarded = board(s, g) }()
		synctest.Wait()
		assert.True(t, boarded)
		assert.Len(t, g.Requests, 32)
		for _, r := range brought {
			r.goesOn()
		}
	})
}

func TestAGroupWaitsForNobodyIfOneThatDoesNotShareIsNext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, g, brought := gate(2)
		s.core.queue.push(&Request{}, true)
		boarded, over := false, false
		go func() { boarded, over = board(s, g), true }()
		synctest.Wait()
		assert.True(t, over)
		assert.False(t, boarded)
		for _, r := range brought {
			r.goesOn()
		}
	})
}

func TestWhoWaitsIsAskedAgainWhetherItCanShare(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cfg := testConfig(1)
		known, carried := false, (*Group)(nil)
		cfg.Prepare = func(context.Context, *Request) Share {
			if known {
				return &share{}
			}
			return nil
		}
		cfg.Carry = func(g *Group) { carried = g }
		var described atomic.Int32
		cfg.Traits = func(context.Context, *Request) Traits { described.Add(1); return Traits{} }
		s := New(cfg)
		c := &Conn{Shares: true}
		s.Begin(c, nil)
		first := &Request{Asked: time.Now()}
		go s.Acquire(t.Context(), first, false)
		synctest.Wait()
		s.Dialed(c, time.Millisecond)
		synctest.Wait()
		var answered atomic.Int32
		for range 2 {
			go func() {
				got, err := s.Acquire(t.Context(), &Request{Asked: time.Now(), MayShare: true}, false)
				assert.Nil(t, got)
				assert.NoError(t, err)
				answered.Add(1)
			}()
			synctest.Wait()
		}
		alone := &Request{Asked: time.Now(), MayShare: true}
		alone.Alone() // it rode, and runs again
		ended := errors.New("it ends")
		ctx, end := context.WithCancelCause(t.Context())
		go s.Acquire(ctx, alone, false)
		synctest.Wait()
		known = true
		s.AskAgain()
		synctest.Wait()
		assert.Nil(t, alone.Share, "who may have run is not asked again")
		assert.EqualValues(t, 4, described.Load(), "the traits of each request, once")
		end(ended)
		synctest.Wait()
		s.Release(c, 0, time.Now())
		assert.Len(t, carried.Requests, 2, "they share though they did not when they came")
		for _, r := range carried.Requests {
			s.Answer(r)
		}
		synctest.Wait()
		assert.EqualValues(t, 2, answered.Load())
		assert.False(t, s.Next(carried, true))
		s.Release(c, 0, time.Now())
		s.Close()
	})
}

// More is learned while a caller finds out that it can share: the caller was told twice, and a group has it before it looks a second time.
func TestWhoSharesByNowIsNotAskedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cfg := testConfig(1)
		var s *Scheduler
		var asked atomic.Int32
		cfg.Prepare = func(context.Context, *Request) Share {
			if asked.Add(1)%2 == 1 {
				return nil
			}
			s.AskAgain()
			return &share{}
		}
		s = New(cfg)
		r := &Request{Asked: time.Now(), MayShare: true}
		go s.Acquire(t.Context(), r, false)
		synctest.Wait()
		s.AskAgain()
		synctest.Wait()
		assert.EqualValues(t, 2, asked.Load(), "when it came, and when it was asked again")
		assert.NotNil(t, r.Share)
		s.Close()
	})
}

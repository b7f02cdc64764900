package sched

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const ms = time.Millisecond

// busy is a scheduler whose connections, n of them, are lent, and on which a statement takes 20 ms. It is for a bubble of synctest.
func busy(n int, change func(*Config)) (s *Scheduler, lent []*Conn) {
	cfg := testConfig(n)
	cfg.Prepare = func(_ context.Context, r *Request) Share {
		if t, ok := r.Owner.(Traits); ok {
			r.Has(t)
		}
		return nil
	}
	if change != nil {
		change(&cfg)
	}
	s = New(cfg)
	for range n {
		c := &Conn{Shares: true}
		s.Begin(c, nil)
		s.core.growth.dialing++
		s.Dialed(c, ms)
		lent = append(lent, c)
	}
	for range n {
		_, _ = s.Acquire(context.Background(), &Request{}, false)
	}
	time.Sleep(20 * ms)
	for _, c := range lent {
		s.Release(c, false, time.Now())
		_, _ = s.Acquire(context.Background(), &Request{}, false)
	}
	return s, lent
}

func expecting(d time.Duration) *Request { return &Request{Owner: Traits{Expect: d}} }

// waits begins an Acquire with a deadline after within; 0: without. It returns where its end comes.
func waits(s *Scheduler, within time.Duration, r *Request) <-chan grant {
	end := make(chan grant, 1)
	go func() {
		ctx, cancel := context.Background(), context.CancelFunc(func() {})
		if within > 0 {
			ctx, cancel = context.WithTimeout(ctx, within)
		}
		defer cancel()
		c, err := s.Acquire(ctx, r, false)
		end <- grant{c, err}
	}()
	synctest.Wait()
	return end
}

func noTime(t *testing.T, g grant) *NoTimeError {
	t.Helper()
	e := &NoTimeError{}
	require.ErrorAs(t, g.err, &e)
	return e
}

func TestWhoWouldNotEndInTimeIsRefusedAtItsLatestStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, lent := busy(1, nil)
		for _, c := range []struct{ within, expect, latest time.Duration }{
			{100 * ms, 0, 80 * ms},          // by the average
			{30 * ms, 0, 15 * ms},           // which counts for half at most
			{100 * ms, 35 * ms, 45 * ms},    // by what is known of it, and the least hold
			{100 * ms, 75 * ms, 5 * ms},     //
			{50 * ms, 20*ms + 1, 10*ms - 1}, //
		} {
			began := time.Now()
			e := noTime(t, <-waits(s, c.within, expecting(c.expect)))
			assert.Equal(t, c.latest, time.Since(began), c)
			assert.Equal(t, c.within-c.latest, e.Left)
			assert.Zero(t, e.Queued)
		}
		assert.EqualValues(t, 5, s.Stats().Refused)
		assert.Zero(t, s.Stats().Canceled)
		end := waits(s, 30*ms, &Request{})
		s.Release(lent[0], false, time.Now())
		assert.NoError(t, (<-end).err)
	})
}

func TestWhoseTimeIsTooShortIsRefusedAtOnceUnlessSomethingIsIdle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, lent := busy(1, nil)
		began := time.Now()
		for i := range 2 * tryHopeless {
			g := <-waits(s, 10*ms, expecting(time.Second))
			if i%tryHopeless == tryHopeless-1 { // its expectation may be wrong
				assert.ErrorIs(t, g.err, context.DeadlineExceeded)
				began = began.Add(10 * ms)
				continue
			}
			assert.Equal(t, 10*ms, noTime(t, g).Left)
			assert.Zero(t, time.Since(began))
		}
		s.Release(lent[0], false, time.Now())
		assert.NoError(t, (<-waits(s, 10*ms, expecting(time.Second))).err)
	})
}

func TestMaxWaitBoundsTheWaitWithoutADeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _ := busy(1, func(c *Config) { c.MaxWait = time.Second })
		began := time.Now()
		other := waits(s, 0, &Request{})
		assert.Equal(t, 1, noTime(t, <-waits(s, 0, &Request{})).Queued+len(other))
		assert.Equal(t, time.Second, time.Since(began))
		<-other
		s, lent := busy(1, nil)
		end := waits(s, 0, &Request{})
		time.Sleep(time.Hour)
		assert.Empty(t, end)
		s.Release(lent[0], false, time.Now())
		<-end
	})
}

// A hold that ends because its user gave up says how long its user had, and not how long a statement takes.
func TestWhatWasGivenUpIsNoService(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, lent := busy(1, nil)
		require.Equal(t, 20*ms, s.Stats().Service)
		time.Sleep(10 * time.Second)
		lent[0].GaveUp(false)
		s.Retain(lent[0])
		assert.Equal(t, 20*ms, s.Stats().Service)
		s.Release(lent[0], false, time.Now())
		_, _ = s.Acquire(t.Context(), &Request{}, false)
		time.Sleep(28 * ms)
		s.Release(lent[0], false, time.Now())
		assert.Equal(t, 21*ms, s.Stats().Service, "the next one counts again")
	})
}

// Nothing is known of a server's first answer, so a caller waits as long as its ctx lasts, and hears why there is no connection.
func TestWithoutAConnectionTheDeadlineIsTheLatestStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, lent := busy(1, nil)
		s.Leaves(lent[0])
		s.Drop(lent[0])
		began := time.Now()
		end := waits(s, 100*ms, expecting(time.Second))
		s.DialFailed(errLacks, Lack{Err: errLacks}, time.Now())
		g := <-end
		assert.ErrorIs(t, g.err, context.DeadlineExceeded)
		assert.ErrorIs(t, g.err, errLacks)
		assert.Equal(t, 100*ms, time.Since(began))
	})
}

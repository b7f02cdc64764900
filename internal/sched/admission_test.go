package sched

import (
	"context"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const ms = time.Millisecond

// busy is a scheduler whose connections, n of them, are lent, and on which a statement takes 20 ms. It is for a bubble of synctest.
func busy(t *testing.T, n int, change func(*Config)) (s *Scheduler, lent []*Conn) {
	cfg := testConfig(n)
	cfg.Traits = func(_ context.Context, r *Request) Traits {
		t, _ := r.Owner.(Traits)
		return t
	}
	if change != nil {
		change(&cfg)
	}
	s = New(cfg)
	t.Cleanup(func() { s.Close() })
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
		s.Release(c, 0, time.Now())
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
		s, lent := busy(t, 1, nil)
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
			assert.Equal(t, NoTimeError{Why: whyLate, Service: c.within - c.latest, Left: c.within - c.latest}, *e)
		}
		assert.EqualValues(t, 5, s.Stats().Refused)
		assert.Zero(t, s.Stats().Canceled)
		end := waits(s, 30*ms, &Request{})
		s.Release(lent[0], 0, time.Now())
		assert.NoError(t, (<-end).err)
	})
}

func TestWhoseTimeIsTooShortIsRefusedAtOnceUnlessSomethingIsIdle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, lent := busy(t, 1, nil)
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
		s.Release(lent[0], 0, time.Now())
		assert.NoError(t, (<-waits(s, 10*ms, expecting(time.Second))).err)
	})
}

func TestMaxWaitBoundsTheWaitWithoutADeadline(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _ := busy(t, 1, func(c *Config) { c.MaxWait = time.Second })
		began := time.Now()
		other := waits(s, 0, &Request{})
		assert.Equal(t, whyMaxWait, noTime(t, <-waits(s, 0, &Request{})).Why)
		noTime(t, <-other)
		assert.Equal(t, time.Second, time.Since(began))
		s, lent := busy(t, 1, nil)
		end := waits(s, 0, &Request{})
		time.Sleep(time.Hour)
		assert.Empty(t, end)
		s.Release(lent[0], 0, time.Now())
		<-end
	})
}

// A hold that ends because its user gave up says how long its user had, and not how long a statement takes.
func TestWhatWasGivenUpIsNoService(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, lent := busy(t, 1, nil)
		require.Equal(t, 20*ms, s.Stats().Service)
		time.Sleep(10 * time.Second)
		lent[0].GaveUp(false)
		s.Retain(lent[0])
		assert.Equal(t, 20*ms, s.Stats().Service)
		s.Release(lent[0], 0, time.Now())
		_, _ = s.Acquire(t.Context(), &Request{}, false)
		time.Sleep(28 * ms)
		s.Release(lent[0], 0, time.Now())
		assert.Equal(t, 21*ms, s.Stats().Service, "the next one counts again")
	})
}

// Nothing is known of a server's first answer, so a caller waits as long as its ctx lasts, and hears why there is no connection.
func TestWithoutAConnectionTheDeadlineIsTheLatestStart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, lent := busy(t, 1, nil)
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

// line has n requests with a deadline wait behind a busy scheduler's connections, a millisecond apart, and returns where their ends come.
func line(s *Scheduler, n int, within time.Duration) (ends []<-chan grant) {
	for range n {
		ends = append(ends, waits(s, within, &Request{}))
		time.Sleep(ms)
	}
	return ends
}

// turn gives c back, and returns which of ends it was lent to.
func turn(t *testing.T, s *Scheduler, c *Conn, ends []<-chan grant) int {
	t.Helper()
	s.Release(c, 0, time.Now())
	synctest.Wait()
	for i, end := range ends {
		select {
		case g := <-end:
			if g.err == nil {
				return i
			}
		default:
		}
	}
	t.Fatal("it was lent to nobody")
	return -1
}

func TestWithoutPressureTheFirstIsServedFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, lent := busy(t, 1, nil)
		ends := line(s, 300, 500*ms)
		assert.False(t, s.Stats().Pressed, "a burst is no overload")
		assert.Zero(t, s.Stats().Refused)
		assert.Equal(t, 0, turn(t, s, lent[0], ends))
		assert.Equal(t, 1, turn(t, s, lent[0], ends))
		time.Sleep(58 * ms) // the third has used 356 of its 480 ms
		assert.Equal(t, 2, turn(t, s, lent[0], ends))
		time.Sleep(5 * ms)
		assert.Equal(t, 299, turn(t, s, lent[0], ends), "the fourth has used more than three fourths")
		assert.True(t, s.Stats().Pressed)
	})
}

func TestUnderPressureTheQueueIsShortUntilItIsEmpty(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, lent := busy(t, 1, nil)
		ends := line(s, 3, 500*ms)
		time.Sleep(400 * ms)
		e := noTime(t, <-waits(s, 200*ms, &Request{}))
		assert.Equal(t, NoTimeError{Why: whyShort, Queued: 3, Wait: 60 * ms, Service: 20 * ms, Left: 200 * ms}, *e)
		unhurried := waits(s, 0, &Request{})
		patient := waits(s, 500*ms, &Request{})
		holder := waits(s, 500*ms, &Request{Owner: Traits{Holds: true}})
		assert.Empty(t, unhurried, "without a deadline there is no pressure")
		assert.Empty(t, patient, "a fourth of its time is more than the queue takes")
		assert.Empty(t, holder, "others wait for what it holds")
		ends = append(ends, unhurried, patient, holder)
		assert.Equal(t, 5, turn(t, s, lent[0], ends), "who holds a connection goes first")
		for _, newest := range []int{4, 3, 2, 1, 0} {
			assert.Equal(t, newest, turn(t, s, lent[0], ends))
		}
		assert.False(t, s.Stats().Pressed)
		ends = line(s, 3, 500*ms)
		assert.Equal(t, 0, turn(t, s, lent[0], ends))
	})
}

// One caller in a hurry does not turn the order of the others, who have time: the oldest of them would wait until it is in danger itself.
func TestUnderPressureTheOldestIsServedFirstWhileItHasTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, lent := busy(t, 1, nil)
		hurried := waits(s, 40*ms, &Request{})
		ends := line(s, 3, time.Minute)
		time.Sleep(50 * ms)
		noTime(t, <-hurried)
		require.True(t, s.Stats().Pressed)
		for i := range ends {
			assert.Equal(t, i, turn(t, s, lent[0], ends))
		}
	})
}

// Under pressure one without a deadline is served when it has waited longest: newest first would never come to it.
func TestUnderPressureWhoHasNoDeadlineKeepsItsPlace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, lent := busy(t, 1, nil)
		ends := append([]<-chan grant{waits(s, 0, &Request{})}, line(s, 1, 50*ms)...)
		time.Sleep(50 * ms) // it is refused
		require.True(t, s.Stats().Pressed)
		ends = append(ends, line(s, 1, 500*ms)...)
		assert.Equal(t, 0, turn(t, s, lent[0], ends))
		assert.Equal(t, 2, turn(t, s, lent[0], ends))
	})
}

// Those who hold a connection go before those who have just come, in their order. One whose turn had come goes before all.
func TestWhoHoldsAConnectionGoesFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, lent := busy(t, 1, nil)
		ends := line(s, 2, 500*ms)
		for range 2 {
			ends = append(ends, waits(s, 500*ms, &Request{Owner: Traits{Holds: true}}))
		}
		again := make(chan grant, 1)
		go func() {
			c, err := s.Acquire(context.Background(), &Request{Owner: Traits{Holds: true}}, true)
			again <- grant{c, err}
		}()
		synctest.Wait()
		ends = append(ends, again, waits(s, 500*ms, &Request{Owner: Traits{Holds: true}}))
		for _, i := range []int{4, 2, 3, 5, 0, 1} {
			assert.Equal(t, i, turn(t, s, lent[0], ends))
		}
	})
}

func TestAStatementGivenUpAtItsDeadlineIsPressureIfOthersWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct{ late, wait, pressed bool }{{true, true, true}, {true, false, false}, {false, true, false}} {
			s, lent := busy(t, 1, nil)
			if c.wait {
				line(s, 1, 500*ms)
			}
			lent[0].GaveUp(c.late)
			s.Retain(lent[0])
			assert.Equal(t, c.pressed, s.Stats().Pressed, c)
			s.Close()
		}
	})
}

func TestWhoIsTooLateBoardsNoGroup(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _ := busy(t, 1, nil)
		now := time.Now()
		var all []*Request
		for i := range 3 {
			r := &Request{Share: &share{}}
			r.begin(newAnswer(), now.Add(time.Duration(100+i)*ms), true)
			require.NoError(t, s.core.wait(r, false, now))
			all = append(all, r)
		}
		g := &Group{}
		g.board(&s.core.queue, time.Second, all[0].Latest())
		assert.Equal(t, all[1:], g.Requests)
		assert.True(t, all[0].queued)
	})
}

func TestMaxQueueBoundsTheQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, lent := busy(t, 1, func(c *Config) { c.MaxQueue = 2 })
		ends := append(line(s, 1, 500*ms), waits(s, 0, &Request{}))
		assert.Equal(t, NoTimeError{Why: whyFull, Queued: 2, Wait: 40 * ms, Service: 20 * ms, Left: time.Minute}, *noTime(t, <-waits(s, time.Minute, &Request{})))
		assert.Equal(t, NoTimeError{Why: whyFull, Queued: 2, Wait: 40 * ms}, *noTime(t, <-waits(s, 0, &Request{})))
		ends = append(ends, waits(s, 500*ms, &Request{Owner: Traits{Holds: true}}))
		assert.Equal(t, 2, turn(t, s, lent[0], ends))
	})
}

func TestUnderPressureEachKeyGetsItsPart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, lent := busy(t, 1, func(c *Config) { c.Fair = true })
		of := func(key string) <-chan grant {
			defer time.Sleep(ms)
			return waits(s, 260*ms, &Request{Owner: Traits{Key: key}})
		}
		ends := []<-chan grant{of("noisy"), of("noisy"), of("noisy"), of("quiet")}
		assert.Equal(t, 0, turn(t, s, lent[0], ends), "without pressure the first is first")
		time.Sleep(200 * ms)
		noTime(t, <-of("noisy"))
		ends = append(ends, of("new")) // in place of the noisy key's oldest
		noTime(t, <-ends[1])
		noTime(t, <-of("new")) // no key has more
		assert.Equal(t, 2, turn(t, s, lent[0], ends), "nobody has had anything, so the oldest key is first")
		ends = append(ends, of("noisy")) // in place of the quiet one
		noTime(t, <-ends[3])
		assert.Equal(t, 4, turn(t, s, lent[0], ends), "the noisy key has had one before")
		assert.Equal(t, 5, turn(t, s, lent[0], ends))
	})
}

func TestAKeyThatIsNotSeenIsForgotten(t *testing.T) {
	t.Parallel()
	f, now := &fairness{}, time.Unix(1e9, 0)
	a, b := f.see("a", now), f.see("b", now)
	a.queued, a.lent = 1, time.Second
	assert.Same(t, b, f.see("b", now.Add(forgetKey-1)))
	assert.Equal(t, time.Second, b.lent, "it saves up nothing")
	f.see("c", now.Add(2*forgetKey-1))
	assert.Len(t, f.all, 2, "b is gone; a has a request that waits")
	assert.Len(t, f.of, 2)
	assert.Same(t, a, f.least())
	f.begins()
	assert.Zero(t, a.lent)
}

// A key that is new each time costs neither memory nor a long look under the lock.
func TestKeysThatNobodyWaitsForAreFew(t *testing.T) {
	t.Parallel()
	f, now := &fairness{}, time.Unix(1e9, 0)
	f.see("waits", now).queued = 1
	for i := range 100 * manyKeys {
		f.see(strconv.Itoa(i), now)
	}
	assert.LessOrEqual(t, len(f.all), manyKeys)
	assert.Len(t, f.of, len(f.all))
	assert.Equal(t, "waits", f.least().key)
}

// A FairBy that takes a second is no part of the hold that follows.
func TestTheTimeOfPrepareIsNoHold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, lent := busy(t, 1, func(c *Config) {
			c.Prepare = func(context.Context, *Request) Share { time.Sleep(time.Second); return nil }
		})
		end := waits(s, 0, &Request{})
		lent[0].GaveUp(false)
		s.Release(lent[0], 0, time.Now())
		<-end
		time.Sleep(20 * ms)
		s.Release(lent[0], 0, time.Now())
		assert.Equal(t, 20*ms, s.Stats().Service)
	})
}

// With a MaxWait of a nanosecond nobody waits long enough for the first dial, which has to begin all the same.
func TestWhoCannotWaitBeginsTheFirstDial(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cfg := testConfig(1)
		cfg.MaxWait = 1
		cfg.Prepare = func(context.Context, *Request) Share { time.Sleep(ms); return nil }
		s := New(cfg)
		defer s.Close()
		refused := waits(s, 0, &Request{})
		noTime(t, <-refused)
		require.Equal(t, 1, s.Stats().Dialing)
		require.Zero(t, s.Stats().Waits, "it was refused at once")
		s.Dialed(&Conn{}, ms)
		assert.NoError(t, (<-waits(s, 0, &Request{})).err)
	})
}

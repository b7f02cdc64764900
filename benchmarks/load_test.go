package main

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// still is a workload whose statement only sleeps.
func still(takes time.Duration) workload {
	return workload{run: func(context.Context, db, pick) error {
		time.Sleep(takes)
		return nil
	}}
}

// noServer returns a meter with process 1 in the server's place, since these tests have no server and do not look at its CPU time.
func noServer(t *testing.T) *meter {
	t.Helper()
	return &meter{postmaster: 1}
}

func TestClosedLoopKeepsItsGoroutinesBusy(t *testing.T) {
	t.Parallel()
	const each = 10 * time.Millisecond
	l, err := closedLoop(t.Context(), nil, still(each), 4, 1, timing{50 * time.Millisecond, 200 * time.Millisecond}, noServer(t))
	if err != nil {
		t.Fatal(err)
	}
	// 4 × 20 if sleeps were exact and nobody else had the CPU.
	if l.completed < 8 || l.completed > 4*21 {
		t.Errorf("%d statements in %v, want about 80", l.completed, l.took)
	}
	if int(l.latency.TotalCount()) != l.completed || millis(l.latency, 50) < 9.9 {
		t.Errorf("%d latencies with median %v ms for %d statements, want one each of 10 ms",
			l.latency.TotalCount(), millis(l.latency, 50), l.completed)
	}
}

// TestOpenLoopCountsFromTheSchedule has one statement stall all later ones, as a pool of one connection would. If latency
// counted from the moment when a statement was sent, all but one would look quick.
func TestOpenLoopCountsFromTheSchedule(t *testing.T) {
	t.Parallel()
	one := make(chan struct{}, 1)
	var n atomic.Int64
	w := workload{run: func(context.Context, db, pick) error {
		one <- struct{}{}
		defer func() { <-one }()
		if n.Add(1) == 1 {
			time.Sleep(200 * time.Millisecond)
		}
		return nil
	}}
	l, err := openLoop(t.Context(), nil, w, 1000, 1, timing{0, 200 * time.Millisecond}, noServer(t))
	if err != nil {
		t.Fatal(err)
	}
	if want := len(schedule(1, 1000, 200*time.Millisecond)); int(l.latency.TotalCount()) != want {
		t.Errorf("%d latencies, want one for each of %d arrivals", l.latency.TotalCount(), want)
	}
	if p50 := millis(l.latency, 50); p50 < 50 {
		t.Errorf("median %v ms, want about 100", p50)
	}
	if l.late.TotalCount() == 0 {
		t.Error("the generator's own lateness was not recorded")
	}
}

func TestSlowStatementsCountButAreNotInThePercentiles(t *testing.T) {
	t.Parallel()
	w := still(time.Millisecond)
	w.slow = func(p pick) bool { return p.draw < 0.5 }
	l, err := closedLoop(t.Context(), nil, w, 4, 1, timing{0, 200 * time.Millisecond}, noServer(t))
	if err != nil {
		t.Fatal(err)
	}
	if fast := int(l.latency.TotalCount()); fast == 0 || fast >= l.completed {
		t.Errorf("%d latencies of %d statements, want about half", fast, l.completed)
	}
}

func TestStatementsThatFailAreCounted(t *testing.T) {
	t.Parallel()
	bad := errors.New("bad")
	w := workload{run: func(context.Context, db, pick) error { return bad }}
	moment := timing{time.Millisecond, 20 * time.Millisecond}
	l, err := closedLoop(t.Context(), nil, w, 3, 1, moment, noServer(t))
	if err != nil || l.completed != 0 || l.faults.count != 3 || !errors.Is(l.faults.first, bad) {
		t.Errorf("closed loop: %d completed, %d failed with %v, %v; want 0, 3", l.completed, l.faults.count, l.faults.first, err)
	}
	l, err = openLoop(t.Context(), nil, w, 1000, 1, moment, noServer(t))
	if want := len(schedule(1, 1000, 21*time.Millisecond)); err != nil || l.completed != 0 || l.faults.count != want {
		t.Errorf("open loop: %d completed, %d failed, %v; want 0, %d", l.completed, l.faults.count, err, want)
	}
}

func TestScheduleIsPoissonAndTheSameAgain(t *testing.T) {
	t.Parallel()
	const total, rate = 20 * time.Second, 2500.0
	a := schedule(7, rate, total)
	if n := len(a); n < 49_000 || n > 51_000 { // 50,000 ± 4.5 standard deviations
		t.Errorf("%d arrivals, want about 50,000", n)
	}
	if !slices.IsSortedFunc(a, func(x, y arrival) int { return int(x.due - y.due) }) {
		t.Error("arrivals are out of order")
	}
	short := 0 // gaps below the mean: 1 - 1/e of all, for a Poisson process
	for i := 1; i < len(a); i++ {
		if (a[i].due - a[i-1].due).Seconds() < 1/rate {
			short++
		}
	}
	if share := float64(short) / float64(len(a)); share < 0.62 || share > 0.645 {
		t.Errorf("%.3f of the gaps are below the mean, want 0.632", share)
	}
	if !slices.Equal(a, schedule(7, rate, total)) {
		t.Error("the same seed gave another schedule")
	}
	if slices.Equal(a, schedule(8, rate, total)) {
		t.Error("another seed gave the same schedule")
	}
}

func TestSleepUntilIsNotEarly(t *testing.T) {
	t.Parallel()
	for _, d := range []time.Duration{-time.Second, 0, 300 * time.Microsecond, 3 * time.Millisecond} {
		due := time.Now().Add(d)
		sleepUntil(due)
		if early := time.Until(due); early > 100*time.Microsecond {
			t.Errorf("%v: %v early", d, early)
		}
	}
}

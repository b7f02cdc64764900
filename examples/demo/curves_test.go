package main

import (
	"slices"
	"testing"
	"time"
)

func TestCurvesKeepPeaksAndFillGaps(t *testing.T) {
	t.Parallel()
	ms := time.Millisecond
	c := newCurves(10*ms, 49*ms, []sample{
		{-15 * ms, 9, 9}, // samples before the load: the curve begins with the last of them
		{-5 * ms, 0, 2},
		{3 * ms, 5, 3},
		{6 * ms, 1, 1}, // a sample in the same step: the higher values stay
		{31 * ms, 4, 2},
	})
	if want := []int{5, 1, 1, 4, 4}; !slices.Equal(c.InFlight, want) {
		t.Errorf("in flight %v, want %v", c.InFlight, want)
	}
	if want := []int{3, 1, 1, 2, 2}; !slices.Equal(c.Connections, want) {
		t.Errorf("connections %v, want %v", c.Connections, want)
	}
}

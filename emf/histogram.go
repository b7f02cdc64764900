package emf

import (
	"math"
	"strconv"
	"sync"
	"time"
)

// Four buckets for each doubling, from 61 microseconds to 128 seconds, are 84: CloudWatch takes at most 100 values of a metric in one line. The value that
// stands for a bucket differs from those in it by 9 % at most.
const (
	perDoubling = 4
	lowest      = -14 // 2^-14 s
	highest     = 7   // 2^7 s
	buckets     = (highest - lowest) * perDoubling
)

// quarters divide the numbers from 1/2 to 1 into perDoubling parts of the same ratio.
var quarters = [perDoubling - 1]float64{math.Exp2(-.75), math.Exp2(-.5), math.Exp2(-.25)}

// histogram counts durations. The zero value is ready.
type histogram struct {
	mu       sync.Mutex
	counts   [buckets]int64
	sum      time.Duration
	min, max time.Duration
	n        int64
}

// values is what a line has for a histogram. CloudWatch makes percentiles from Values and Counts, and the other statistics from the rest.
type values struct {
	Values []float64
	Counts []int64
	Min    float64
	Max    float64
	Sum    float64
	Count  int64
}

func (h *histogram) add(d time.Duration) {
	d = max(d, 0)
	i := 0
	if d > 0 {
		part, exp := math.Frexp(d.Seconds()) // part is in [1/2, 1)
		i = (exp - 1 - lowest) * perDoubling
		for _, bound := range quarters {
			if part >= bound {
				i++
			}
		}
		i = min(max(i, 0), buckets-1)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.n == 0 || d < h.min {
		h.min = d
	}
	h.max = max(h.max, d)
	h.counts[i]++
	h.sum += d
	h.n++
}

// take returns what was counted since the last call, or nil if that is nothing.
func (h *histogram) take() *values {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.n == 0 {
		return nil
	}
	v := &values{Min: seconds(h.min), Max: seconds(h.max), Sum: seconds(h.sum), Count: h.n}
	for i, n := range h.counts {
		if n > 0 {
			middle := math.Exp2((float64(i)+0.5)/perDoubling + lowest)
			v.Values = append(v.Values, short(min(max(middle, v.Min), v.Max)))
			v.Counts = append(v.Counts, n)
		}
	}
	h.counts, h.sum, h.min, h.max, h.n = [buckets]int64{}, 0, 0, 0, 0
	return v
}

// seconds returns d in seconds, to the microsecond.
func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*1e6) / 1e6 }

// short returns f with four digits, since lines are paid by their length.
func short(f float64) float64 {
	s, _ := strconv.ParseFloat(strconv.FormatFloat(f, 'g', 4, 64), 64)
	return s
}

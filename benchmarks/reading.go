package main

import (
	"math"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// reading has the figures of one measurement. A figure that could not be measured is NaN.
type reading struct {
	throughput           float64 // per second
	p50, p99             float64 // milliseconds
	client, server, link float64 // CPU microseconds per statement
	offered, lateP99     float64 // only in an open loop: arrivals per second, and how many milliseconds the generator was late
	peak                 int     // the greatest number of backends
	statements           int
	errors               int
	firstError           error
}

func newReading(o order, l load, peak int) reading {
	nan := math.NaN()
	r := reading{
		throughput: float64(l.completed) / l.took.Seconds(),
		p50:        millis(l.latency, 50),
		p99:        millis(l.latency, 99),
		client:     float64(l.used.client.Microseconds()) / float64(l.completed),
		server:     nan,
		link:       nan,
		offered:    nan,
		lateP99:    nan,
		peak:       peak,
		statements: l.completed,
		errors:     l.faults.count,
		firstError: l.faults.first,
	}
	if serverCPUKnown {
		r.server = float64(l.used.server.Microseconds()) / float64(l.completed)
	}
	if o.cell.link == farther {
		r.link = float64(l.used.link.Microseconds()) / float64(l.completed)
	}
	if o.loop == open {
		r.offered, r.lateP99 = o.rate, millis(l.late, 99)
	}
	return r
}

func millis(h *hdrhistogram.Histogram, percentile float64) float64 {
	if h.TotalCount() == 0 {
		return math.NaN()
	}
	return float64(h.ValueAtPercentile(percentile)) / 1e6
}

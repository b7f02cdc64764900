package main

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// These are sizes in a panel, which draws the curves of one system, in units of its viewBox. A panel is about 360 pixels wide on a phone and on a
// desktop, so its text is as large as the page's.
const (
	panelWidth, panelHeight                  = 360, 210
	plotLeft, plotRight, plotTop, plotBottom = 34, 350, 12, 178
	plotWidth, plotHeight                    = plotRight - plotLeft, plotBottom - plotTop
	columns                                  = plotWidth / 2 // with more columns nobody would see a difference
)

// scale has the axes' scales. All panels share them, so that they can be compared by eye. Both axes start at zero.
type scale struct {
	seconds float64
	level   int
	xticks  []float64
	yticks  []int
}

func newScale(systems []System) scale {
	s := scale{seconds: 1, level: 1}
	for _, sys := range systems {
		s.seconds = max(s.seconds, sys.curves.duration().Seconds())
		s.level = max(s.level, sys.InFlight, sys.PeakConnections)
	}
	xstep := niceStep(s.seconds, 6)
	for i := 0; ; i++ {
		x := float64(i) * xstep
		if x > s.seconds {
			break
		}
		s.xticks = append(s.xticks, x)
	}
	ystep := int(max(1, niceStep(float64(s.level), 4)))
	for y := 0; ; y += ystep {
		s.yticks = append(s.yticks, y)
		if y >= s.level {
			s.level = y
			break
		}
	}
	return s
}

// niceStep returns the distance of an axis's marks: 1, 2, 2.5 or 5 times a power of ten, so that at most n steps cover total.
func niceStep(total float64, n int) float64 {
	power := math.Pow(10, math.Floor(math.Log10(total/float64(n))))
	for _, m := range []float64{1, 2, 2.5, 5} {
		if m*power*float64(n) >= total && (m != 2.5 || power >= 10) {
			return m * power
		}
	}
	return 10 * power
}

func (s scale) x(seconds float64) float64 { return plotLeft + plotWidth*seconds/s.seconds }
func (s scale) y(level float64) float64   { return plotBottom - plotHeight*level/float64(s.level) }

// line returns the path of a step function from time zero to its end.
func (s scale) line(values []int, step time.Duration) string {
	var b strings.Builder
	last := -1
	for i, v := range s.thin(values, step) {
		if v.n == last {
			continue
		}
		if i == 0 {
			fmt.Fprintf(&b, "M%.1f %.1f", s.x(v.at.Seconds()), s.y(float64(v.n)))
		} else {
			fmt.Fprintf(&b, "H%.1fV%.1f", s.x(v.at.Seconds()), s.y(float64(v.n)))
		}
		last = v.n
	}
	if last >= 0 {
		end := time.Duration(len(values)) * step
		fmt.Fprintf(&b, "H%.1f", s.x(end.Seconds()))
	}
	return b.String()
}

// area returns the path of line, closed along the axis so that it can be filled.
func (s scale) area(values []int, step time.Duration) string {
	line := s.line(values, step)
	if line == "" {
		return ""
	}
	return fmt.Sprintf("%sV%dH%dZ", line, plotBottom, plotLeft)
}

// point is a place where a step function changes its value.
type point struct {
	at time.Duration
	n  int
}

// thin keeps the highest value in each column of the drawing, so that no peak is lost.
func (s scale) thin(values []int, step time.Duration) []point {
	column := time.Duration(s.seconds / float64(columns) * float64(time.Second))
	var out []point
	for i, v := range values {
		at := (time.Duration(i) * step).Truncate(max(column, step))
		if n := len(out); n > 0 && out[n-1].at == at {
			out[n-1].n = max(out[n-1].n, v)
		} else {
			out = append(out, point{at: at, n: v})
		}
	}
	return out
}

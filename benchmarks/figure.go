package main

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
)

// figure is a measured number, or NaN if it could not be measured: null in JSON, - in the table.
type figure float64

func (f figure) known() bool { return !math.IsNaN(float64(f)) && !math.IsInf(float64(f), 0) }

// MarshalJSON keeps three digits behind the point, since such a run is not more precise.
func (f figure) MarshalJSON() ([]byte, error) {
	if !f.known() {
		return []byte("null"), nil
	}
	return json.Marshal(math.Round(float64(f)*1000) / 1000)
}

// String keeps three significant digits, and all digits of a whole number.
func (f figure) String() string {
	x := float64(f)
	switch {
	case !f.known():
		return "-"
	case math.Abs(x) >= 99.95:
		return strconv.FormatFloat(x, 'f', 0, 64)
	case math.Abs(x) >= 9.995:
		return strconv.FormatFloat(x, 'f', 1, 64)
	default:
		return strconv.FormatFloat(x, 'f', 2, 64)
	}
}

// spread returns the least and the greatest value of the rounds.
type spread [2]figure

func (s spread) String() string {
	if !s[0].known() || s[0] == s[1] {
		return "" // there was one round, or none
	}
	return s[0].String() + ".." + s[1].String()
}

// known returns those of values that are numbers, in order.
func known(values []float64) []float64 {
	var some []float64
	for _, v := range values {
		if figure(v).known() {
			some = append(some, v)
		}
	}
	slices.Sort(some)
	return some
}

// median returns the value in the middle, or the mean of the two in the middle.
func median(values []float64) figure {
	s := known(values)
	if len(s) == 0 {
		return figure(math.NaN())
	}
	return figure(s[(len(s)-1)/2]+s[len(s)/2]) / 2
}

func spreadOf(values []float64) spread {
	s := known(values)
	if len(s) == 0 {
		return spread{figure(math.NaN()), figure(math.NaN())}
	}
	return spread{figure(s[0]), figure(s[len(s)-1])}
}

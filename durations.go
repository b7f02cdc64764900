package lmipool

import (
	"encoding/json"
	"time"

	"github.com/lmipool/lmipool/internal/safelog"
)

// DurationStat says how long many things took, since Open.
type DurationStat struct {
	Count int64         `json:"count"` // how many there were
	Sum   time.Duration `json:"-"`     // the sum of their durations
	Max   time.Duration `json:"-"`     // the longest
	// Buckets has how many took longer than the bound before and no longer than the bound at the same index of [DurationBounds]. The last one has those
	// that took longer than every bound.
	Buckets [len(bounds) + 1]int64 `json:"buckets"`
}

// bounds are those that OpenTelemetry's conventions give http.server.request.duration, with more at both ends: a handler may take a millisecond, or
// minutes.
var bounds = [...]time.Duration{
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 75 * time.Millisecond,
	100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, 750 * time.Millisecond, time.Second, 2500 * time.Millisecond,
	5 * time.Second, 7500 * time.Millisecond, 10 * time.Second, 30 * time.Second, time.Minute, 5 * time.Minute, 15 * time.Minute,
}

// DurationBounds returns the upper bounds of a DurationStat's buckets, except the last bucket, which has none.
func DurationBounds() []time.Duration { return append([]time.Duration(nil), bounds[:]...) }

func (d *DurationStat) add(took time.Duration) {
	i := 0
	for i < len(bounds) && took > bounds[i] {
		i++
	}
	d.Count++
	d.Sum += took
	d.Max = max(d.Max, took)
	d.Buckets[i]++
}

// MarshalJSON returns d as JSON, with times in milliseconds.
func (d DurationStat) MarshalJSON() ([]byte, error) {
	type numbers DurationStat
	return json.Marshal(struct {
		numbers
		Sum float64 `json:"sum_ms"`
		Max float64 `json:"max_ms"`
	}{numbers(d), safelog.Milliseconds(d.Sum), safelog.Milliseconds(d.Max)})
}

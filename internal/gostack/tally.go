package gostack

import (
	"log/slog"
	"sync"
	"time"
)

// Tally says which lines of a log to write when the same thing happens again and again at one place: the first at once, and then at most one a minute
// for each message and place. So a thousand mistakes at one place make two lines, and not a thousand. The zero value is ready.
type Tally struct {
	mu     sync.Mutex
	counts map[event]*count
	places map[string]int // how many places of each message have a count of their own
}

// event is a message and the place that it is about, or the message alone for all places beyond mostPlaces.
type event struct {
	message string
	place   any
}

type count struct {
	unsaid int64     // events since the last line
	saidAt time.Time // when the last line was written
}

const (
	// mostPlaces is how many places of one message are told apart, so that a Tally stays small.
	mostPlaces = 100
	sayEvery   = time.Minute
)

// Count counts one more event at place, which must be comparable. If say is true, a line is to be logged now, with attrs: "count" is how many events
// the line stands for, the one that is counted now included. "places" is "other" if the line stands for several places, because message has more than
// mostPlaces.
func (t *Tally) Count(message string, place any, now time.Time) (attrs []any, say bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	of := event{message, place}
	c := t.counts[of]
	if c == nil && t.places[message] == mostPlaces {
		of.place = nil
		c = t.counts[of]
	}
	if c == nil {
		if t.counts == nil {
			t.counts, t.places = make(map[event]*count), make(map[string]int)
		}
		c = new(count)
		t.counts[of] = c
		if of.place != nil {
			t.places[message]++
		}
	}
	c.unsaid++
	if !c.saidAt.IsZero() && now.Sub(c.saidAt) < sayEvery {
		return nil, false
	}
	attrs = []any{slog.Int64("count", c.unsaid)}
	if of.place == nil {
		attrs = append(attrs, slog.String("places", "other"))
	}
	c.unsaid, c.saidAt = 0, now
	return attrs, true
}

package main

import (
	"math"
	"slices"
	"time"
)

// fate is how a call ended.
type fate uint8

const (
	unmade    fate = iota
	inTime         // answered by its deadline
	late           // answered after it, without an error
	onArrival      // refused at once, since it could not have ended in time
	fromQueue      // refused while it waited, for the same reason
	inQueue        // its ctx ended while it waited for a connection
	inFlight       // its ctx ended while its statement ran
	broken         // it failed for another reason
)

// call is one call of an overloaded system. Times are from when it was due.
type call struct {
	due      time.Duration // from the start of the load
	took     time.Duration // until it returned
	within   time.Duration // until its deadline
	returned time.Duration // from when it was made, which can be later than when it was due
	service  time.Duration // what a refusal says that it would have taken
	weight   float64       // how long it holds a connection, in units of its workload
	heavy    bool
	feasible bool // on an idle system it would end in time
	key      int
	fate     fate
}

func (c *call) ended() time.Duration { return c.due + c.took }

// isEarly reports whether c returned before half of the time was over that it could have waited. So a refusal from the queue, which comes at the end
// of that time, is told from one on arrival, also from one that a busy machine delays.
func (c *call) isEarly() bool {
	made := c.took - c.returned // later than it was due, if the generator was late
	could := c.within - c.service - made
	return could <= 0 || c.returned < could/2
}

// figures are what a system did in a window of a load.
type figures struct {
	Goodput figure `json:"goodput"` // connection time of calls answered in time, of what there is
	Heavy   figure `json:"heavy"`   // what heavy calls had of the goodput, of what they had of the offer

	Offered   int `json:"offered"`
	InTime    int `json:"in_time"`
	Late      int `json:"late"`
	OnArrival int `json:"refused_on_arrival"`
	FromQueue int `json:"refused_from_queue"`
	InQueue   int `json:"gave_up_in_queue"`
	InFlight  int `json:"gave_up_in_flight"`
	Broken    int `json:"broken"`

	P50        figure `json:"p50_ms"` // of those answered in time
	P99        figure `json:"p99_ms"`
	LateBy     figure `json:"late_by_ms"`     // the latest of the late, after its deadline
	ArrivalP50 figure `json:"arrival_p50_ms"` // of the refused on arrival: from call to return
	ArrivalP99 figure `json:"arrival_p99_ms"`
	QueueP50   figure `json:"queue_p50_ms"` // of the refused from the queue: how long after deadline minus expected service
	QueueP99   figure `json:"queue_p99_ms"`
}

// measureCalls returns the figures of the window from..to. Goodput counts what ended in it, all else what was due in it. capacity is in weight per second.
func measureCalls(calls []call, from, to time.Duration, capacity float64) (f figures) {
	var good float64
	var heavy, all struct{ offered, good float64 }
	var latency, arrival, queue, lateBy []time.Duration
	for i := range calls {
		c := &calls[i]
		if end := c.ended(); c.fate == inTime && end >= from && end < to {
			good += c.weight
		}
		if c.fate == unmade || c.due < from || c.due >= to {
			continue
		}
		f.Offered++
		if c.feasible {
			all.offered += c.weight
			if c.heavy {
				heavy.offered += c.weight
			}
		}
		*f.count(c.fate)++
		switch c.fate {
		case inTime:
			latency = append(latency, c.took)
			all.good += c.weight
			if c.heavy {
				heavy.good += c.weight
			}
		case onArrival:
			arrival = append(arrival, c.returned)
		case fromQueue:
			queue = append(queue, c.took-(c.within-c.service))
		case late:
			lateBy = append(lateBy, c.took-c.within)
		}
	}
	f.Goodput = figure(quotient(good, capacity*(to-from).Seconds()))
	f.Heavy = figure(quotient(quotient(heavy.good, all.good), quotient(heavy.offered, all.offered)))
	f.P50, f.P99 = percentile(latency, 50), percentile(latency, 99)
	f.LateBy = percentile(lateBy, 100)
	f.ArrivalP50, f.ArrivalP99 = percentile(arrival, 50), percentile(arrival, 99)
	f.QueueP50, f.QueueP99 = percentile(queue, 50), percentile(queue, 99)
	return f
}

// count returns the counter of calls that ended so.
func (f *figures) count(end fate) *int {
	return map[fate]*int{
		inTime: &f.InTime, late: &f.Late, onArrival: &f.OnArrival, fromQueue: &f.FromQueue,
		inQueue: &f.InQueue, inFlight: &f.InFlight, broken: &f.Broken,
	}[end]
}

// percentile returns the value, in milliseconds, that so many percent of all do not exceed; NaN: there is none.
func percentile(all []time.Duration, percent float64) figure {
	if len(all) == 0 {
		return figure(math.NaN())
	}
	slices.Sort(all)
	i := int(math.Ceil(percent/100*float64(len(all)))) - 1
	return figure(all[max(0, i)].Seconds() * 1e3)
}

const (
	regainSpan = 100 * time.Millisecond // how long the goodput must be there to count as regained
	regainStep = 10 * time.Millisecond
)

// regained returns how long after at there was first a span in which calls of perSecond or more, in weight, were answered in time. never: there was
// none before until.
func regained(calls []call, at, until time.Duration, perSecond float64) (after time.Duration, never bool) {
	steps := int((until - at) / regainStep)
	good := make([]float64, max(0, steps)) // in each step
	for i := range calls {
		c := &calls[i]
		if n := int((c.ended() - at) / regainStep); c.fate == inTime && c.ended() >= at && n < len(good) {
			good[n] += c.weight
		}
	}
	const wide = int(regainSpan / regainStep)
	sum := 0.0
	for n := range good {
		sum += good[n]
		if n >= wide {
			sum -= good[n-wide]
		}
		if n >= wide-1 && sum >= perSecond*regainSpan.Seconds()-1e-9 {
			return time.Duration(n-wide+1) * regainStep, false
		}
	}
	return until - at, true
}

// regains are several of them.
type regains struct {
	Mean  figure `json:"mean_ms"` // one that never came counts as the time that was waited for it
	Most  figure `json:"most_ms"`
	Never int    `json:"never"`
	Of    int    `json:"of"`
}

func newRegains(calls []call, at []time.Duration, wait time.Duration, perSecond float64) (r regains) {
	var sum, most time.Duration
	for _, t := range at {
		after, never := regained(calls, t, t+wait, perSecond)
		if never {
			r.Never++
		}
		sum, most = sum+after, max(most, after)
	}
	r.Of = len(at)
	r.Mean, r.Most = figure(quotient(sum.Seconds()*1e3, float64(len(at)))), figure(most.Seconds()*1e3)
	return r
}

// goodputOfKeys returns the connection time of calls answered in time in the window, of all keys but one, over what they offered.
func goodputOfKeys(calls []call, from, to time.Duration, but int) figure {
	var good, offered float64
	for i := range calls {
		if c := &calls[i]; c.due >= from && c.due < to && c.key != but && c.fate != unmade {
			offered += c.weight
			if c.fate == inTime {
				good += c.weight
			}
		}
	}
	return figure(quotient(good, offered))
}

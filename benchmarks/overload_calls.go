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

// call is one call to an overloaded system. Its times count from the moment when it was due, unless the field says otherwise.
type call struct {
	due      time.Duration // from the start of the load
	took     time.Duration // until it returned
	within   time.Duration // until its deadline
	returned time.Duration // until it returned, from the moment when it was made: a late generator makes a call after it was due
	service  time.Duration // the expected service that the error of a refusal names
	weight   float64       // how long it holds a connection, in units of the workload's light calls
	heavy    bool
	feasible bool // it would end in time if the system were idle
	key      int
	fate     fate
}

func (c *call) ended() time.Duration { return c.due + c.took }

// isEarly reports whether c returned in the first half of the time for which it could have waited. That tells a refusal on arrival, even one that a
// busy machine delays, from a refusal out of the queue, which comes at the end of that time.
func (c *call) isEarly() bool {
	made := c.took - c.returned // how late the generator was
	could := c.within - c.service - made
	return could <= 0 || c.returned < could/2
}

// figures are what a system did in a window of a load.
type figures struct {
	Goodput figure `json:"goodput"` // connection time of calls answered in time, divided by the capacity
	Heavy   figure `json:"heavy"`   // heavy calls' share of the goodput, divided by their share of the offered time

	Offered   int `json:"offered"`
	InTime    int `json:"in_time"`
	Late      int `json:"late"`
	OnArrival int `json:"refused_on_arrival"`
	FromQueue int `json:"refused_from_queue"`
	InQueue   int `json:"gave_up_in_queue"`
	InFlight  int `json:"gave_up_in_flight"`
	Broken    int `json:"broken"`

	P50        figure `json:"p50_ms"` // latency of the calls answered in time
	P99        figure `json:"p99_ms"`
	LateBy     figure `json:"late_by_ms"`     // how long after its deadline the latest of the late calls was answered
	ArrivalP50 figure `json:"arrival_p50_ms"` // from call to return, of the calls refused on arrival
	ArrivalP99 figure `json:"arrival_p99_ms"`
	QueueP50   figure `json:"queue_p50_ms"` // how long after its latest start a call was refused from the queue
	QueueP99   figure `json:"queue_p99_ms"`
}

// measureCalls returns the figures of the window from..to. Goodput counts calls that ended in the window, all other figures count calls that were due
// in it. capacity is in weight per second.
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

// count returns the counter for calls that ended with the fate end.
func (f *figures) count(end fate) *int {
	return map[fate]*int{
		inTime: &f.InTime, late: &f.Late, onArrival: &f.OnArrival, fromQueue: &f.FromQueue,
		inQueue: &f.InQueue, inFlight: &f.InFlight, broken: &f.Broken,
	}[end]
}

// percentile returns the value, in milliseconds, that percent of all values do not exceed. It returns NaN if there are no values.
func percentile(all []time.Duration, percent float64) figure {
	if len(all) == 0 {
		return figure(math.NaN())
	}
	slices.Sort(all)
	i := int(math.Ceil(percent/100*float64(len(all)))) - 1
	return figure(all[max(0, i)].Seconds() * 1e3)
}

const (
	regainSpan = 100 * time.Millisecond // how long the goodput must last to count as regained
	regainStep = 10 * time.Millisecond
)

// regained returns how long after at the first regainSpan began in which at least perSecond, in weight, was answered in time. If there was none before
// until, it returns the whole time and true.
func regained(calls []call, at, until time.Duration, perSecond float64) (after time.Duration, never bool) {
	steps := int((until - at) / regainStep)
	good := make([]float64, max(0, steps)) // the weight that was answered in time, by step
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

// regains says how soon a system regained its goodput after several steps or standstills.
type regains struct {
	Mean  figure `json:"mean_ms"` // if the goodput did not come back, the whole wait counts
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

// goodputOfKeys looks at the calls that were due in the window, without those of the key but. It returns the share of their weight that was answered
// in time.
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

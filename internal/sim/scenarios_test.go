package sim

import (
	"fmt"
	"time"
)

// scenario is a kind of day that a pool may have.
type scenario struct {
	Name   string
	For    time.Duration
	Server Server
	Config Config
}

// limits are what the limit must be between at a time.
type limits struct {
	at          time.Duration
	least, most int
}

// limitsOf has the limits of scenarios in which the tuner moves the limit, by name.
var limitsOf = map[string][]limits{"tuned": {{8 * sec, 3, 12}, {14 * sec, 16, 32}, {26 * sec, 3, 12}}}

// run runs s with seed, to its end. What it returns is a *Broken, if a rule did not hold.
func (s scenario) run(seed uint64, check bool, trace func([]byte)) (w *World, e *Env, err error) {
	w = NewWorld(seed, trace)
	s.Config.Check = check
	server := s.Server
	e = NewEnv(w, &server, s.Config)
	if err = w.Run(s.For); err == nil {
		err = Finish(w, e)
	}
	for _, l := range limitsOf[s.Name] {
		if err != nil {
			break
		}
		if x := e.Samples[l.at/s.Config.Every-1]; x.Limit < l.least || x.Limit > l.most {
			err = &Broken{Rule: fmt.Sprintf("the limit is from %d to %d, and not %d", l.least, l.most, x.Limit), At: x.At}
		}
	}
	return w, e, err
}

const (
	us  = time.Microsecond
	ms  = time.Millisecond
	sec = time.Second
)

// hold is a statement that has a connection for 20 ms, read one that is short and may travel with others.
var (
	hold = Kind{Name: "hold", Weight: 1, Work: 20 * ms, Within: 500 * ms}
	read = Kind{Name: "read", Weight: 1, Work: 100 * us, Spread: Exponential, Within: 500 * ms, Shares: true}
	mess = Kind{Name: "mess", Weight: 1, Work: 2 * ms, Spread: Exponential, Within: 100 * ms, Dirty: 0.2, Breaks: 0.02, Reset: 0.3}
	long = Kind{Name: "long", Weight: 0.1, Work: 200 * ms, Spread: Evenly, Within: 2 * sec}
	wait = Kind{Name: "wait", Weight: 0.2, Work: 5 * ms, Spread: Evenly}
	text = Kind{Name: "text", Weight: 1, Work: 20 * ms, Spread: Exponential, Within: 200 * ms, Known: true}
	nest = Kind{Name: "nest", Weight: 1, Work: 5 * ms, Spread: Evenly, Within: 2 * sec, Nests: true}
)

// heavy and light are what one server can do best with few and with many connections.
var (
	heavy = Kind{Name: "heavy", Weight: 1, Work: 5 * ms, Spread: Evenly, Within: 500 * ms}
	light = Kind{Name: "light", Weight: 1, Work: 250 * us, Spread: Evenly, Within: 500 * ms}
)

var near = Server{RoundTrip: ms, DialTime: 10 * ms}

// scenarios are what the scheduler has to stand.
var scenarios = []scenario{
	{"steps", 4 * sec, near, Config{
		Max: 16, Min: 2, Group: 32, Idle: sec, Cancel: ms, Wakes: 50 * us,
		MaxWait: sec / 2,
		Load:    Load{Kinds: []Kind{hold, mess, wait}, Steps: []Step{{Rate: 100}, {From: sec, Rate: 2000}, {From: 2 * sec, Rate: 50, Burst: 64}, {From: 3 * sec, Rate: 5000}}},
	}},
	{"ramp", 4 * sec, near, Config{
		Max: 8, Group: 32, Idle: sec, Wakes: 50 * us, Unfit: 0.01, MaxQueue: 100,
		Load: Load{Kinds: []Kind{read, mess, long}, Steps: []Step{{Rate: 10, Ramp: true}, {From: 2 * sec, Rate: 3000, Ramp: true}, {From: 4 * sec}}},
	}},
	{"slow", 4 * sec, Server{RoundTrip: ms, DialTime: 10 * ms, Knee: 8, Contends: 0.05, Phases: []Phase{{From: sec, To: 3 * sec, Slow: 10}}}, Config{
		Max: 16, Group: 32, Idle: sec, Cancel: 100 * ms, Wakes: 50 * us,
		Load: Load{Kinds: []Kind{hold, read, long}, Steps: []Step{{Rate: 500}}},
	}},
	{"still", 6 * sec, Server{RoundTrip: ms, DialTime: 10 * ms, Phases: []Phase{{From: sec, To: 3 * sec, Still: true}}}, Config{
		Max: 16, Group: 32, Idle: sec, Cancel: ms, Wakes: 50 * us,
		Load: Load{Kinds: []Kind{hold, mess, wait}, Steps: []Step{{Rate: 400}}},
	}},
	{"away", 6 * sec, Server{RoundTrip: ms, DialTime: 10 * ms, Refuses: 0.1, Slots: 6, Phases: []Phase{{From: sec, To: 2 * sec, Away: true}, {From: 3 * sec, To: 4 * sec, Still: true}}}, Config{
		Max: 8, Min: 1, Group: 8, Patience: sec, Idle: sec / 2, Cancel: ms, Wakes: 50 * us, Unfit: 0.1, Fences: []time.Duration{sec, 3 * sec},
		Load: Load{Kinds: []Kind{hold, mess, wait, read}, Steps: []Step{{Rate: 300}}},
	}},
	{"retries", 4 * sec, near, Config{
		Max: 16, Group: 32, Idle: sec, Cancel: 100 * ms, Wakes: 50 * us,
		Load: Load{Kinds: []Kind{again(hold), again(long)}, Steps: []Step{{Rate: 500}, {From: sec, Rate: 1600}, {From: 3 * sec, Rate: 500}}},
	}},
	{"mixes", 4 * sec, near, Config{
		Max: 16, Min: 1, Group: 32, Idle: sec / 2, Wakes: 50 * us,
		Load: Load{Kinds: []Kind{read}, Steps: []Step{{Rate: 3000}, {From: sec, Rate: 300, Kinds: []Kind{hold, read}}, {From: 2 * sec, Rate: 200, Kinds: []Kind{long, mess, wait}}, {From: 3 * sec, Rate: 1000, Kinds: []Kind{mess, read}}}},
	}},
	{"cancels", 4 * sec, near, Config{
		Max: 4, Group: 4, Idle: sec, Cancel: 300 * ms, Wakes: 200 * us,
		Load: Load{Kinds: []Kind{{Name: "late", Weight: 1, Work: 30 * ms, Spread: Exponential, Within: 50 * ms, CutAfter: 200 * ms}, read}, Steps: []Step{{Rate: 300}}},
	}},
	{"texts", 4 * sec, near, Config{
		Max: 16, Group: 32, Idle: sec, Cancel: 100 * ms, Wakes: 50 * us,
		Load: Load{Kinds: []Kind{text, long, read}, Steps: []Step{{Rate: 500}, {From: sec, Rate: 2000}, {From: 3 * sec, Rate: 200, Burst: 300}}},
	}},
	{"fleet", 6 * sec, Server{RoundTrip: ms, DialTime: 10 * ms, Slots: 12, Refuses: 0.02}, Config{
		Max: 16, Min: 3, Group: 8, Idle: sec / 2, Patience: sec, Cancel: ms, Wakes: 50 * us, Unfit: 0.02, Fences: []time.Duration{2 * sec}, Ceilings: 150 * ms,
		Load: Load{Kinds: []Kind{hold, mess, read, wait}, Steps: []Step{{Rate: 400}, {From: 2 * sec, Rate: 3000}, {From: 4 * sec, Rate: 50, Burst: 64}}},
	}},
	// The server runs 4 statements at full speed, and each further one slows down all. So 4 connections are enough for long statements; of short
	// ones most of the time is the round trip, and many connections answer more.
	{"tuned", 26 * sec, Server{RoundTrip: 5 * ms, DialTime: 10 * ms, Knee: 4, Contends: 0.1}, Config{
		Max: 32, Cancel: ms, Wakes: 50 * us, Every: sec,
		Load: Load{Kinds: []Kind{heavy}, Steps: []Step{{Rate: 1000}, {From: 8 * sec, Rate: 4000, Kinds: []Kind{light}}, {From: 14 * sec, Rate: 1000, Kinds: []Kind{heavy}}}},
	}},
	// Callers go on late, so some have no time left when they look at their answer, and some are still queued after their latest start.
	{"sleepy", 2 * sec, near, Config{
		Max: 4, Group: 8, MaxQueue: 12, Idle: sec, Cancel: ms, Wakes: 10 * ms, Fences: []time.Duration{sec / 2, sec},
		Load: Load{Kinds: []Kind{
			{Name: "short", Weight: 2, Work: 200 * us, Within: 15 * ms},
			{Name: "ride", Weight: 1, Work: 4 * ms, Spread: Exponential, Within: 60 * ms, Shares: true},
			{Name: "patient", Weight: 1, Work: 5 * ms, Spread: Exponential, Nests: true},
		}, Steps: []Step{{Rate: 200}, {From: sec / 2, Rate: 800, Burst: 10}, {From: sec, Rate: 100, Burst: 30}}},
	}},
	// Dials are slow and connections break, so each fence finds a dial under way. Callers who hold a connection wait for a second one, and those with
	// little time leave from the middle of the queue. A few rides fill the time of a group.
	{"rough", 3 * sec, Server{RoundTrip: ms, DialTime: 100 * ms}, Config{
		Max: 8, Group: 8, Cancel: ms, Wakes: 200 * us, Fences: []time.Duration{sec / 2, sec, 3 * sec / 2, 2 * sec, 5 * sec / 2},
		Load: Load{Kinds: []Kind{
			nest,
			{Name: "brief", Weight: 1, Work: 3 * ms, Spread: Exponential, Within: 20 * ms, Nests: true},
			{Name: "slow ride", Weight: 1, Work: 12 * ms, Spread: Exponential, Within: 300 * ms, Shares: true},
			{Name: "breaks", Weight: 1, Work: 2 * ms, Breaks: 0.2, Within: 300 * ms},
		}, Steps: []Step{{Rate: 300}, {From: sec, Rate: 800}, {From: 2 * sec, Rate: 200, Burst: 40}}},
	}},
	{"nests", 4 * sec, near, Config{
		Max: 4, Group: 4, Idle: sec, Wakes: 50 * us,
		Load: Load{Kinds: []Kind{nest, hold, read}, Steps: []Step{{Rate: 20}, {From: sec, Rate: 300}, {From: 2 * sec, Rate: 50, Burst: 16}}},
	}},
}

// again is k of clients that come back three times, at once.
func again(k Kind) Kind {
	k.Retries = 3
	return k
}

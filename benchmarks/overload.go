package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// scenario is a load that each of the rivals is put under.
type scenario struct {
	name    string
	w       *pressed
	wait    patience
	retries int
	kind    kind
	x       float64 // the load, as a multiple of the capacity
}

type kind uint8

const (
	steady   kind = iota // one step from half of the capacity to x times the capacity, which then lasts
	steps                // many such steps, with half of the capacity between them
	standing             // the database stands still, many times
	fair                 // ten keys; one offers the whole capacity, the others 9 % each
)

const (
	keys  = 10
	noisy = 0 // the key that offers too much
	share = 0.09
)

// scenarios returns all scenarios, in the order of the report.
func scenarios() (all []scenario) {
	for i := range pressedOnes {
		w := &pressedOnes[i]
		for _, wait := range []patience{half500, shorts} {
			for _, x := range w.loads {
				all = append(all, scenario{name: fmt.Sprintf("%s/%s/%gx", w.name, wait.name, x), w: w, wait: wait, x: x})
			}
		}
	}
	hold := &pressedOnes[0]
	for _, x := range hold.loads[1:] {
		all = append(all, scenario{name: fmt.Sprintf("hold/retry/%gx", x), w: hold, wait: half500, retries: 3, x: x})
	}
	for _, r := range []struct {
		suffix  string
		retries int
	}{{"", 0}, {"+retry", 3}} {
		all = append(all,
			scenario{name: "hold/steps" + r.suffix, w: hold, wait: half500, retries: r.retries, kind: steps, x: 2},
			scenario{name: "hold/still" + r.suffix, w: hold, wait: half500, retries: r.retries, kind: standing, x: 1.25})
	}
	return append(all, scenario{name: "hold/fair", w: hold, wait: half500, kind: fair, x: (keys-1)*share + 1})
}

// pauses has the durations that no flag sets.
type pauses struct {
	calm      time.Duration // how long half of the capacity is offered before a step
	high      time.Duration // how long each step lasts in the kind steps
	stillFor  time.Duration // how long the database stands still
	around    time.Duration // how long the load runs before and after the database stands still
	capacity  timing        // the times of the measurement that finds the capacity
	regainFor time.Duration // how long the measurement waits until the capacity is regained
}

func (o *overloadOptions) pauses() pauses {
	if o.short {
		return pauses{
			calm: 300 * time.Millisecond, high: 600 * time.Millisecond, stillFor: 500 * time.Millisecond, around: 700 * time.Millisecond,
			capacity: timing{150 * time.Millisecond, 250 * time.Millisecond}, regainFor: 600 * time.Millisecond,
		}
	}
	return pauses{
		calm: time.Second, high: 1500 * time.Millisecond, stillFor: 2 * time.Second, around: 1500 * time.Millisecond,
		capacity: timing{1500 * time.Millisecond, 2 * time.Second}, regainFor: 1500 * time.Millisecond,
	}
}

// outcome is what one system did in one scenario.
type outcome struct {
	Scenario string  `json:"scenario"`
	System   string  `json:"system"`
	Capacity figure  `json:"capacity"` // weight per second in a closed loop, of the better one of lmipool and pgxpool
	Load     float64 `json:"load"`     // as a multiple of the capacity
	figures
	Lateness figure   `json:"generator_late_p99_ms"`
	Regains  *regains `json:"regained,omitempty"`
	Others   *figure  `json:"others_goodput,omitempty"` // the goodput of all keys but the noisy one, divided by their goodput before that one came

	of scenario
}

// plan returns the stretches of s, the times at which the load steps up or the server goes on, and the window in which calls are measured.
func (s *scenario) plan(o *overloadOptions, capacity float64) (all []stretch, at []time.Duration, from, to time.Duration) {
	p := o.pauses()
	perSecond := capacity / s.w.meanWeight()
	calm := stretch{p.calm, []float64{perSecond / 2}}
	if s.kind == steady {
		from = 2 * p.calm
		calm.lasts, to = from, from+o.duration
		return []stretch{calm, {o.duration, []float64{perSecond * s.x}}}, []time.Duration{from}, from, to
	}
	rates := []float64{perSecond * s.x}
	if s.kind == fair {
		rates = make([]float64, keys)
		for i := range rates {
			rates[i] = perSecond * share
		}
		calm.rates = slices.Clone(rates)
		calm.rates[noisy] = 0
		rates[noisy] = perSecond
		calm.lasts = o.duration / 2 // the second half measures the others without the noisy key
		return []stretch{calm, {o.duration, rates}}, nil, calm.lasts, calm.lasts + o.duration
	}
	var now time.Duration
	for range o.times {
		if s.kind == steps {
			all = append(all, calm, stretch{p.high, rates})
			at, now = append(at, now+p.calm), now+p.calm+p.high
			continue
		}
		each := 2*p.around + p.stillFor
		all = append(all, stretch{each, rates})
		at, now = append(at, now+p.around+p.stillFor), now+each
	}
	return all, at, 0, now
}

func (w *pressed) meanWeight() float64 {
	if w.heavy != nil {
		return 1.9
	}
	return 1
}

// overload measures the selected scenarios.
func overload(ctx context.Context, o *overloadOptions, tell func(string, ...any)) (*overloadResult, error) {
	r := &overloadResult{Settings: newSettings(o.general(), time.Now())}
	all := o.selected()
	l := &lab{}
	defer l.close()
	var err error
	if l.fast, err = startServer(ctx, quiet, roomy); err != nil {
		return nil, err
	}
	if slices.ContainsFunc(all, func(s scenario) bool { return s.w.durable }) {
		if l.durable, err = startServer(ctx, quiet, roomy, waitsForDisk); err != nil {
			return nil, err
		}
	}
	if slices.ContainsFunc(all, func(s scenario) bool { return s.w.far }) {
		if l.link, err = startLink(l.fast.pg.Addr()); err != nil {
			return nil, err
		}
	}
	if err := r.Settings.ofServers(ctx, l); err != nil {
		return nil, err
	}
	tell("%d scenarios for %d systems: about %v\n", len(all), len(rivals), o.expected(all).Round(time.Second))
	for i, s := range all {
		tell("%d/%d %s\n", i+1, len(all), s.name)
		these, err := l.press(ctx, o, s, uint64(i)+1)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		r.Outcomes = append(r.Outcomes, these...)
	}
	r.Claims = o.claims(r.Outcomes)
	return r, nil
}

// roomy has a higher max_connections: when pgxpool closes a connection in the middle of a statement, its backend stays for a while.
var roomy = map[string]string{"max_connections": "500"}

// expected returns how long all scenarios take at least.
func (o *overloadOptions) expected(all []scenario) (sum time.Duration) {
	for i := range all {
		stretches, _, _, _ := all[i].plan(o, 1)
		each := time.Second // to tidy and to end
		for _, s := range stretches {
			each += s.lasts
		}
		sum += time.Duration(len(rivals))*each + 2*(o.pauses().capacity.warmup+o.pauses().capacity.duration)
	}
	return sum
}

// press measures the capacity, and then puts each of the rivals under the load of s.
func (l *lab) press(ctx context.Context, o *overloadOptions, s scenario, seed uint64) (all []outcome, err error) {
	on, _ := l.of(s.w)
	capacity := 0.0
	for _, name := range []string{lmipool, plain} { // the better result of the two counts as the capacity
		c, err := withPressed(ctx, l, s, name, func(d db) (float64, error) { return capacityOf(ctx, d, s.w, o.pauses().capacity, seed) })
		if err != nil {
			return nil, fmt.Errorf("the capacity, by %s: %w", name, err)
		}
		capacity = max(capacity, c)
	}
	for i := range rivals {
		name := rivals[(i+int(seed))%len(rivals)] // each is the first one in turn, so that none always has that place
		x, err := withPressed(ctx, l, s, name, func(d db) (outcome, error) { return under(ctx, on, o, s, d, capacity, seed) })
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		x.Scenario, x.System, x.Capacity, x.Load, x.of = s.name, name, figure(capacity), s.x, s
		all = append(all, x)
	}
	slices.SortFunc(all, func(a, b outcome) int { return slices.Index(rivals, a.System) - slices.Index(rivals, b.System) })
	return all, nil
}

// of returns the server on which w runs, and the address to reach the server.
func (l *lab) of(w *pressed) (on *server, addr string) {
	switch {
	case w.durable:
		return l.durable, l.durable.pg.Addr()
	case w.far:
		return l.fast, l.link.addr
	}
	return l.fast, l.fast.pg.Addr()
}

// withPressed waits until the connections of the pool before are gone, and runs f with a new pool of the system with that name.
func withPressed[T any](ctx context.Context, l *lab, s scenario, name string, f func(db) (T, error)) (x T, err error) {
	on, addr := l.of(s.w)
	if s.w.durable {
		err = on.tidy(ctx)
	}
	if err == nil {
		err = on.settled(ctx)
	}
	if err != nil {
		return x, err
	}
	d, err := openPressed(ctx, name, connString(addr), s.w.conns, s.kind == fair)
	if err != nil {
		return x, err
	}
	defer d.Close()
	return f(d)
}

// under puts d under the load of s, and returns what d did.
func under(ctx context.Context, on *server, o *overloadOptions, s scenario, d db, capacity float64, seed uint64) (x outcome, err error) {
	stretches, at, from, to := s.plan(o, capacity)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var stand chan error
	if s.kind == standing {
		stand = make(chan error, 1)
		began := time.Now()
		go func() { stand <- freezes(ctx, on, began, at, o.pauses().stillFor) }()
	}
	calls, late := offer(ctx, d, s.w, arrivals(seed, stretches), s.wait, s.retries)
	if stand != nil {
		err = <-stand
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return x, err
	}
	x = outcome{figures: measureCalls(calls, from, to, capacity), Lateness: late}
	switch {
	case s.kind == fair:
		before := goodputOfKeys(calls, from/2, from, noisy)
		ratio := figure(quotient(float64(goodputOfKeys(calls, from, to, noisy)), float64(before)))
		x.Others = &ratio
	case s.x > 1:
		wait := o.pauses().regainFor
		if s.kind == steady {
			wait = o.duration
		}
		r := newRegains(calls, at, wait, 0.9*capacity)
		x.Regains = &r
	}
	return x, nil
}

// freezes stops the server so that it goes on at each of the times at, after it stood still for the time lasts.
func freezes(ctx context.Context, on *server, began time.Time, at []time.Duration, lasts time.Duration) error {
	for _, t := range at {
		if err := sleep(ctx, time.Until(began.Add(t-lasts))); err != nil {
			return err
		}
		thaw, err := on.freeze(ctx)
		if err != nil {
			return err
		}
		err = sleep(ctx, time.Until(began.Add(t)))
		thaw()
		if err != nil {
			return err
		}
	}
	return nil
}

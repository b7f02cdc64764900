package main

import (
	"context"
	"time"
)

// run measures everything that is selected, once in each round.
func run(ctx context.Context, o options, p *progress) (*Result, error) {
	r := &Result{Settings: newSettings(o, time.Now())}
	selection := o.selected()
	l, err := newLab(ctx, selection)
	if err != nil {
		return nil, err
	}
	defer l.close()
	if err := r.Settings.ofServers(ctx, l); err != nil {
		return nil, err
	}

	readings := map[string][]reading{} // by the cell's name, one reading for each round
	p.begin(o, selection)
	defer p.end()
	for round := range o.rounds {
		for _, g := range selection {
			rate := 0.0
			measure := func(c cell) (reading, error) {
				p.next(round, c)
				if c.loop == open && c.rate == 0 {
					c.rate = rate
				}
				x, err := l.measure(ctx, order{
					cell: c, durable: g.durable, lanes: o.lanes, seed: uint64(round) + 1, timing: o.timing,
				})
				readings[c.name()] = append(readings[c.name()], x)
				return x, err
			}
			if g.capacity != nil {
				x, err := measure(*g.capacity)
				if err != nil {
					return nil, err
				}
				rate = max(1, g.share*x.throughput)
			}
			for _, c := range g.turn(round) {
				if _, err := measure(c); err != nil {
					return nil, err
				}
			}
		}
	}
	for _, g := range selection {
		for _, c := range g.all() {
			r.Rows = append(r.Rows, newRow(c, readings[c.name()]))
		}
	}
	r.Ratios = ratios(r.Rows, !o.short)
	return r, nil
}

package main

import (
	"fmt"
	"regexp"
)

const (
	loopback = "loopback"
	farther  = "1ms"
)

const (
	closed = "closed" // each goroutine sends its next statement when it has the answer to the one before
	open   = "open"   // statements are sent on a schedule, and do not wait for earlier answers
)

// crowd is how many invocations a managed instance runs at once, by default.
const crowd = 64

// cell is one line of the table: a workload on a system, with its load.
type cell struct {
	workload   workload
	link, loop string
	system     system
	goroutines int     // of a closed loop
	rate       float64 // arrivals per second of an open loop; if 0, they are group.share of the throughput of group.capacity
}

func (c cell) name() string {
	loop := fmt.Sprintf("%s%d", c.loop, c.goroutines)
	if c.loop == open {
		loop = c.loop
	}
	return fmt.Sprintf("%s/%s/%s/%s-%d", c.workload.name, c.link, loop, c.system.name, c.system.maxConns)
}

// group has cells that are compared with each other. They are measured one right after the other, so that the machine's state is alike for all.
type group struct {
	durable bool // the cells run on the server that waits for its disk
	cells   []cell

	capacity *cell   // measured before the other cells in each round
	share    float64 // the part of capacity's throughput that cells without a rate get
}

// groups returns everything that can be measured.
func groups() []group {
	var all []group
	closedLoop := func(w workload, link string, goroutines int, systems ...system) {
		var g group
		for _, s := range systems {
			g.cells = append(g.cells, cell{workload: w, link: link, loop: closed, system: s, goroutines: goroutines})
		}
		all = append(all, g)
	}
	links := []string{loopback, farther}
	for _, link := range links {
		closedLoop(point, link, crowd, system{lmipool, 2}, system{plain, 2}, system{plain, 64})
	}
	closedLoop(point, farther, crowd, system{lmipoolSQL, 2}, system{plainSQL, 2}, system{plainSQL, 64})
	closedLoop(oneClient, loopback, 1, system{lmipoolSQL, 2}, system{plainSQL, 2})
	all = append(all, group{cells: []cell{
		{workload: point, link: farther, loop: open, rate: 2500, system: system{lmipool, 2}},
		{workload: point, link: farther, loop: open, rate: 2500, system: system{plain, 64}},
	}})
	for _, link := range links {
		closedLoop(oneClient, link, 1, system{lmipool, 2}, system{plain, 2})
	}
	for _, link := range links {
		closedLoop(rows20, link, crowd, system{lmipool, 2}, system{plain, 2}, system{plain, 64})
	}
	for _, link := range links {
		closedLoop(mixed, link, crowd, system{lmipool, 4}, system{plain, 4})
	}
	all = append(all, group{
		capacity: &cell{workload: slowOnes, link: farther, loop: closed, goroutines: crowd, system: system{plain, 4}},
		share:    0.7,
		cells: []cell{
			{workload: slowOnes, link: farther, loop: open, system: system{lmipool, 4}},
			{workload: slowOnes, link: farther, loop: open, system: system{plain, 4}},
		},
	})
	closedLoop(durable, loopback, crowd, system{lmipool, 4}, system{plain, 4}, system{lmipool, 16}, system{plain, 16})
	all[len(all)-1].durable = true
	for _, w := range []workload{comments, trigger, forUpdate, function, first, texts} {
		closedLoop(w, loopback, crowd, system{lmipool, 4}, system{plain, 4})
	}
	var resets group
	for _, w := range []workload{reset, reset500, anyReset, anyReset500} {
		resets.cells = append(resets.cells, cell{workload: w, link: loopback, loop: closed, goroutines: 1, system: system{lmipool, 2}})
	}
	all = append(all, resets)
	return all
}

// selected returns the groups without the cells whose names do not match.
func selected(only *regexp.Regexp) []group {
	var some []group
	for _, g := range groups() {
		var cells []cell
		for _, c := range g.cells {
			if only.MatchString(c.name()) {
				cells = append(cells, c)
			}
		}
		if g.capacity != nil && len(cells) == 0 && only.MatchString(g.capacity.name()) {
			cells, g.capacity = []cell{*g.capacity}, nil
		}
		if g.cells = cells; len(cells) > 0 {
			some = append(some, g)
		}
	}
	return some
}

// all returns the group's cells in the order of the table.
func (g group) all() []cell {
	if g.capacity == nil {
		return g.cells
	}
	return append([]cell{*g.capacity}, g.cells...)
}

// turn returns the order in which a round measures the cells. Over the rounds each cell has each place equally often, so that no place favours a cell.
func (g group) turn(round int) []cell {
	n := round % len(g.cells)
	return append(append([]cell(nil), g.cells[n:]...), g.cells[:n]...)
}

package main

import (
	"fmt"
	"math"
)

// metric is a property in which systems are compared.
type metric struct {
	name string
	of   func(reading) float64
}

var (
	throughput    = metric{"throughput", func(r reading) float64 { return r.throughput }}
	p50           = metric{"p50", func(r reading) float64 { return r.p50 }}
	p99           = metric{"p99", func(r reading) float64 { return r.p99 }}
	clientCPU     = metric{"client CPU", func(r reading) float64 { return r.client }}
	serverCPUTime = metric{"server CPU", func(r reading) float64 { return r.server }}
)

// claim is a ratio that the table shows, with its bound if it has one.
type claim struct {
	workload   workload
	link, loop string
	of, to     system
	metric     metric
	want       want
	than       *workload // the workload on which to is measured; nil if it is the same
}

// want is the bound of a figure. The zero value is no bound.
type want struct {
	op    string
	bound float64
}

func atLeast(x float64) want { return want{">=", x} }
func atMost(x float64) want  { return want{"<=", x} }

func (w want) String() string {
	if w.op == "" {
		return ""
	}
	return fmt.Sprintf("%s %g", w.op, w.bound)
}

func (w want) met(x figure) bool {
	return w.op == ">=" && float64(x) >= w.bound || w.op == "<=" && float64(x) <= w.bound
}

// claims returns the ratios that a release of the library must keep. Their bounds are for two quiet cores and for medians of at least five rounds.
func claims() []claim {
	var all []claim
	compare := func(w workload, link, loop string, of, to system, wants map[string]want, metrics ...metric) {
		for _, m := range metrics {
			all = append(all, claim{w, link, loop, of, to, m, wants[m.name], nil})
		}
	}
	two, four, sixteen := system{lmipool, 2}, system{lmipool, 4}, system{lmipool, 16}
	cost := []metric{throughput, p99, clientCPU, serverCPUTime}

	compare(point, loopback, closed, two, system{plain, 2}, map[string]want{"throughput": atLeast(2.2)}, cost...)
	compare(point, loopback, closed, two, system{plain, 64}, map[string]want{"throughput": atLeast(1.3)}, cost...)
	compare(point, farther, closed, two, system{plain, 2}, map[string]want{"throughput": atLeast(10)}, cost...)
	compare(point, farther, closed, two, system{plain, 64},
		map[string]want{"throughput": atLeast(1.5), "p99": atMost(0.6), "server CPU": atMost(0.65)}, cost...)
	twoSQL := system{lmipoolSQL, 2}
	compare(point, farther, closed, twoSQL, system{plainSQL, 2}, map[string]want{"throughput": atLeast(8)}, cost...)
	compare(point, farther, closed, twoSQL, system{plainSQL, 64}, map[string]want{"throughput": atLeast(1.2)}, cost...)
	compare(oneClient, loopback, closed, twoSQL, system{plainSQL, 2}, nil, p50, p99, clientCPU)
	compare(point, farther, open, two, system{plain, 64}, map[string]want{"p99": atMost(1.25)}, p50, p99, clientCPU, serverCPUTime)
	// DESIGN.md, invariants: one client on an idle pool costs what pgxpool costs, within 10 %.
	alone := map[string]want{"p50": atMost(1.1), "client CPU": atMost(1.1)}
	for _, link := range []string{loopback, farther} {
		compare(oneClient, link, closed, two, system{plain, 2}, alone, p50, p99, clientCPU)
	}
	for _, link := range []string{loopback, farther} {
		compare(rows20, link, closed, two, system{plain, 2}, nil, cost...)
		compare(rows20, link, closed, two, system{plain, 64}, nil, cost...)
	}
	for _, link := range []string{loopback, farther} {
		compare(mixed, link, closed, four, system{plain, 4}, nil, cost...)
	}
	compare(slowOnes, farther, open, four, system{plain, 4}, map[string]want{"p99": atMost(0.5)}, p50, p99)
	nothingLost := map[string]want{"throughput": atLeast(0.95)}
	compare(durable, loopback, closed, four, system{plain, 4}, nothingLost, throughput, p99)
	compare(durable, loopback, closed, sixteen, system{plain, 16}, nothingLost, throughput, p99)
	analysed := func(w workload, least float64) {
		compare(w, loopback, closed, four, system{plain, 4}, map[string]want{"throughput": atLeast(least)}, throughput, p99, serverCPUTime)
	}
	analysed(comments, 0.8)
	analysed(trigger, 0.9)
	analysed(forUpdate, 0.9)
	analysed(function, 0.9)
	analysed(first, 0.7)
	analysed(texts, 0.8)
	all = append(all,
		claim{reset500, loopback, closed, two, two, p50, atMost(1.3), &reset},
		claim{anyReset500, loopback, closed, two, two, p50, want{}, &anyReset})
	return all
}

// Ratio is one comparison: the ratio of the medians, and the least and the greatest ratio within one round.
type Ratio struct {
	Name  string `json:"name"`
	Value figure `json:"value"`
	Range spread `json:"range"`
	Want  string `json:"want,omitempty"`
	Met   *bool  `json:"met,omitempty"`

	where, systems, metric string // the parts of Name
}

// ratios returns the ratios of rows that claims names, except those whose rows were not measured. If wanted is true, the ratios have their bounds.
func ratios(rows []Row, wanted bool) []Ratio {
	all := []Ratio{}
	for _, c := range claims() {
		other := c
		if c.than != nil {
			other.workload = *c.than
		}
		a, b := find(rows, c, c.of), find(rows, other, c.to)
		if a == nil || b == nil {
			continue
		}
		above, below := a.values(c.metric.of), b.values(c.metric.of)
		var each []float64
		for i := range min(len(above), len(below)) {
			each = append(each, quotient(above[i], below[i]))
		}
		r := Ratio{
			Value:   figure(quotient(float64(median(above)), float64(median(below)))),
			Range:   spreadOf(each),
			where:   c.workload.name + " " + c.link,
			systems: c.of.String() + " / " + c.to.String(),
			metric:  c.metric.name,
		}
		if c.loop == open {
			r.where += " open"
		}
		if c.than != nil {
			r.systems = c.of.String() + " / " + c.than.name
		}
		r.Name = r.where + ": " + r.systems + " " + r.metric
		if wanted && c.want.op != "" && r.Value.known() {
			met := c.want.met(r.Value)
			r.Want, r.Met = c.want.String(), &met
		}
		all = append(all, r)
	}
	return all
}

func quotient(a, b float64) float64 {
	if b == 0 {
		return math.NaN()
	}
	return a / b
}

func find(rows []Row, c claim, s system) *Row {
	for i := range rows {
		r := &rows[i]
		if r.Workload == c.workload.name && r.Link == c.link && r.Loop == c.loop && r.System == s.name && r.MaxConns == s.maxConns {
			return r
		}
	}
	return nil
}

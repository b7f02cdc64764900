package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

const overloadFile = "overload.json"

// overloadResult is what overload.json holds.
type overloadResult struct {
	Settings Settings       `json:"settings"`
	Outcomes []outcome      `json:"outcomes"`
	Claims   []overloadLine `json:"claims"`
}

// overloadLine is a figure of lmipool and the bound that it must keep.
type overloadLine struct {
	Scenario string `json:"scenario"`
	Figure   string `json:"figure"`
	Value    figure `json:"value"`
	Want     string `json:"want,omitempty"`
	Met      *bool  `json:"met,omitempty"`
}

// claims returns lmipool's figures with their bounds. The figures of a short run have none, since they are too noisy.
func (o *overloadOptions) claims(all []outcome) (lines []overloadLine) {
	for i := range all {
		x := &all[i]
		if x.System != lmipool {
			continue
		}
		add := func(name string, value figure, w want) {
			line := overloadLine{Scenario: x.Scenario, Figure: name, Value: value}
			if !o.short {
				met := value.known() && w.met(value)
				line.Want, line.Met = w.String(), &met
			}
			lines = append(lines, line)
		}
		some := func(name string, value figure, w want) { // adds no line if there was no such call
			if value.known() {
				add(name, value, w)
			}
		}
		add("answered late without an error", figure(x.Late), atMost(0))
		add("failed for another reason", figure(x.Broken), atMost(0))
		some("refused on arrival, call to return p99 ms", x.ArrivalP99, atMost(1))
		some("refused from the queue, after deadline minus service p99 ms", x.QueueP99, atMost(2))
		switch x.of.kind {
		case steady:
			goodput := x.of.w.goodput
			if x.Load <= 1 {
				goodput *= 0.97 // random arrivals leave gaps at 1.0 × of the capacity
			}
			add("goodput of capacity", x.Goodput, atLeast(goodput))
			if x.of.w.heavy != nil {
				add("heavy calls' share of their share", x.Heavy, atLeast(0.8))
			}
		case steps:
			add("within 10 % of capacity after the step, mean ms", x.Regains.Mean, atMost(200))
		case standing:
			add("at 0.9 of capacity after standing still, most ms", x.Regains.Most, atMost(500))
		case fair:
			add("others' goodput against without the noisy one", *x.Others, atLeast(0.9))
		}
	}
	return lines
}

// failed returns false: a missed bound is printed, and does not make the run fail.
func (r *overloadResult) failed() bool { return false }

func (r *overloadResult) print(w io.Writer) error {
	var b strings.Builder
	r.Settings.print(&b, "", "rounds")
	fmt.Fprintf(&b, "\nof all calls: answered in time, refused on arrival, from the queue, given up in the queue, in flight, late without an error (and the latest by how much), failed;\n"+
		"ms: latency of those in time; from call to return of those refused on arrival; after deadline minus service of those from the queue;\n"+
		"regained: mean and most until 0.9 of the capacity for 100 ms; the last: p99 of the generator's own lateness\n\n")
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "scenario\tsystem\tcapacity\tgoodput\theavy\tin time\tarrival\tqueue\tgave up\tin flight\tlate\tby ms\tfailed\tp50\tp99\tarrival p99\tqueue p99\tregained\tnever\tothers\tlate ms")
	for i := range r.Outcomes {
		x := &r.Outcomes[i]
		part := func(n int) string { return fmt.Sprintf("%.1f%%", 100*quotient(float64(n), float64(x.Offered))) }
		back, never, others := "", "", ""
		if x.Regains != nil {
			back, never = fmt.Sprintf("%v..%v", x.Regains.Mean, x.Regains.Most), fmt.Sprintf("%d/%d", x.Regains.Never, x.Regains.Of)
		}
		if x.Others != nil {
			others = x.Others.String()
		}
		heavy := ""
		if x.of.w != nil && x.of.w.heavy != nil {
			heavy = x.Heavy.String()
		}
		fmt.Fprintf(t, "%s\t%s\t%v\t%v\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%v\t%d\t%v\t%v\t%v\t%v\t%s\t%s\t%s\t%v\n",
			x.Scenario, x.System, x.Capacity, x.Goodput, heavy, part(x.InTime), part(x.OnArrival), part(x.FromQueue), part(x.InQueue), part(x.InFlight),
			x.Late, x.LateBy, x.Broken, x.P50, x.P99, x.ArrivalP99, x.QueueP99, back, never, others, x.Lateness)
	}
	t.Flush()
	b.WriteString("\nlmipool\n\n")
	t = tabwriter.NewWriter(&b, 0, 0, 1, ' ', 0)
	for _, x := range r.Claims {
		fmt.Fprintf(t, "%s:\t%s\t= %v\t %s\n", x.Scenario, x.Figure, x.Value, verdict(x.Want, x.Met))
	}
	t.Flush()
	_, err := io.WriteString(w, b.String())
	return err
}

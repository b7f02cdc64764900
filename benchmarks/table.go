package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// print writes the result for a terminal: settings, figures, ratios, errors.
func (r *Result) print(w io.Writer) error {
	var b strings.Builder
	r.Settings.print(&b, "", "")
	b.WriteString("\nmedians, and least..most of the rounds; CPU in µs per statement; peak: most backends seen in pg_stat_activity\n\n")
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "workload\tlink\tloop\tsystem\tpeak\tper s\t\tp50 ms\t\tp99 ms\t\tclient\tserver\tlink")
	for i := range r.Rows {
		x := &r.Rows[i]
		fmt.Fprintf(t, "%s\t%s\t%s\t%s %d\t%d\t%v\t%v\t%v\t%v\t%v\t%v\t%v\t%v\t%v\n",
			x.Workload, x.Link, x.loop(), x.System, x.MaxConns, x.PeakConnections,
			x.Throughput, x.ThroughputRange, x.P50, x.P50Range, x.P99, x.P99Range, x.Client, x.Server, x.Proxy)
	}
	t.Flush()
	b.WriteString("\nslow: 1 % of the statements take 20 ms; the percentiles are of the others. Its closed loop is how the rate of its open\n" +
		"loops is found: 70 % of that, in each round. Open: latency counts from when a statement was due.\n")

	if len(r.Ratios) > 0 {
		b.WriteString("\nratios of the medians, and least..most of the rounds\n\n")
		t = tabwriter.NewWriter(&b, 0, 0, 1, ' ', 0)
		for _, x := range r.Ratios {
			fmt.Fprintf(t, "%s:\t%s\t%s\t= %vx\t %v\t%s\n", x.where, x.systems, x.metric, x.Value, x.Range, verdict(x.Want, x.Met))
		}
		t.Flush()
	}
	for i := range r.Rows {
		if x := &r.Rows[i]; x.Errors > 0 {
			fmt.Fprintf(&b, "\n! %s %s %s %s %d: %d statements failed, one with: %s", x.Workload, x.Link, x.loop(), x.System, x.MaxConns, x.Errors, x.FirstError)
		}
	}
	_, err := io.WriteString(w, strings.TrimRight(b.String(), "\n")+"\n")
	return err
}

// verdict returns the bound want and whether a figure meets it, as text. met is nil if the figure has no bound.
func verdict(want string, met *bool) string {
	switch {
	case met == nil:
		return ""
	case *met:
		return "(want " + want + ")"
	default:
		return "(want " + want + ") MISSED"
	}
}

// loop returns the row's kind of load as text.
func (r *Row) loop() string {
	if r.Loop == open {
		return fmt.Sprintf("open %v/s", r.Offered)
	}
	return fmt.Sprintf("closed %d", r.Goroutines)
}

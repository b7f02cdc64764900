package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// writeTable prints the result for a terminal: figures, errors, published figures, settings.
func writeTable(w io.Writer, r *Result) error {
	rows := [][]string{{"system", "in flight", "connections", "opened", "req/s", "p50 ms", "p99 ms", "throttled", "failed"}}
	for i := range r.Systems {
		rows = append(rows, r.Systems[i].row())
	}
	var b strings.Builder
	b.WriteString("\nMeasured here\n")
	align(&b, rows)
	for _, line := range r.Errors() {
		fmt.Fprintf(&b, "  ! %s\n", line)
	}

	fmt.Fprintf(&b, "\nPublished by the original experiment, not measured here (%s)\n", publishedHow)
	rows = [][]string{{"system", "in flight", "connections", "throttled"}}
	for _, p := range r.Published {
		rows = append(rows, []string{p.Name, fmt.Sprint(p.InFlight), fmt.Sprint(p.PeakConnections), p.Throttled})
	}
	align(&b, rows)

	b.WriteString("\nSettings\n")
	for _, s := range r.list() {
		fmt.Fprintf(&b, "  %-22s %s\n", s.Name, s.Value)
	}
	b.WriteString("\n  in flight, connections: peaks. connections: pg_stat_activity, sampled on one connection of its own.\n" +
		"  opened: pg_stat_database.sessions. p50, p99: of the accepted attempt. throttled: requests refused at least once, then retried.\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// row returns the system's line in the table, as text.
func (s *System) row() []string {
	if !s.Ran() {
		return []string{s.Name, "-", "-", "-", "-", "-", "-", "-", fmt.Sprint(s.Failed)}
	}
	return []string{
		s.Name,
		fmt.Sprint(s.InFlight),
		fmt.Sprint(s.PeakConnections),
		s.OpenedText(),
		fmt.Sprintf("%.1f", s.RequestsPerSec),
		fmt.Sprintf("%.0f", s.P50),
		fmt.Sprintf("%.0f", s.P99),
		fmt.Sprint(s.Throttled),
		fmt.Sprint(s.Failed),
	}
}

// OpenedText returns the number of opened connections, or a text if the server does not count them.
func (s *System) OpenedText() string {
	if s.Opened < 0 {
		return "n/a"
	}
	return fmt.Sprint(s.Opened)
}

// align writes rows with the first column to the left and the others to the right.
func align(b *strings.Builder, rows [][]string) {
	var width []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		for i, cell := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell))
			if i == 0 {
				b.WriteString("  " + cell + pad)
			} else {
				b.WriteString("  " + pad + cell)
			}
		}
		b.WriteByte('\n')
	}
}

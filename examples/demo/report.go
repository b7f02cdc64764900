package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"strings"
	"unicode"
)

//go:embed report.html.tmpl
var reportTemplate string

// page has the values that the template shows, in the template's order.
type page struct {
	Headline string
	Lead     string
	When     string

	Bars         []bar
	Published    []bar
	PublishedHow string
	BarTicks     []tick

	Panels []panel

	Systems  []System
	Settings []setting
	Command  string
	Hold     string
}

// bar has one system's peaks as shares of the longest bar.
type bar struct {
	Name                  string
	InFlight, Connections int
	FlightPct, ConnPct    float64
	Error                 string
	Throttled             string // only in the bar of a published system
	Ran, Ours             bool
}

// tick is a mark on an axis.
type tick struct {
	At    float64
	Label string
}

// panel is one system's two curves.
type panel struct {
	ID, Name, How         string
	InFlight, Connections int
	Flight, Conns         string // path data
	XTicks, YTicks        []tick
	Ran, Ours             bool
	Error                 string
	Alt                   string
}

// render makes the report: one HTML file that needs no other file.
func render(r *Result) ([]byte, error) {
	t, err := template.New("report").Parse(reportTemplate)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, newPage(r)); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func newPage(r *Result) page {
	when, _, _ := strings.Cut(r.Settings.Started, "T")
	p := page{
		Headline:     headline(r),
		Lead:         lead(r),
		When:         when,
		PublishedHow: publishedHow,
		Systems:      r.Systems,
		Settings:     r.list(),
		Command:      r.Settings.Command,
		Hold:         unbroken(r.Settings.Hold),
	}
	p.bars(r)
	s := newScale(r.Systems)
	for i := range r.Systems {
		p.Panels = append(p.Panels, newPanel(i, &r.Systems[i], s))
	}
	return p
}

func (p *page) bars(r *Result) {
	longest := 1
	for _, s := range r.Systems {
		longest = max(longest, s.InFlight, s.PeakConnections)
	}
	for _, s := range r.Published {
		longest = max(longest, s.InFlight, s.PeakConnections)
	}
	sc := newScale([]System{{InFlight: longest}})
	pct := func(n int) float64 { return round(100 * float64(n) / float64(sc.level)) }
	for _, s := range r.Systems {
		p.Bars = append(p.Bars, bar{
			Name: s.Name, InFlight: s.InFlight, Connections: s.PeakConnections,
			FlightPct: pct(s.InFlight), ConnPct: pct(s.PeakConnections),
			Error: s.Error, Ran: s.Ran(), Ours: s.Name == ours,
		})
	}
	for _, s := range r.Published {
		p.Published = append(p.Published, bar{
			Name: s.Name, InFlight: s.InFlight, Connections: s.PeakConnections,
			FlightPct: pct(s.InFlight), ConnPct: pct(s.PeakConnections), Ran: true, Throttled: s.Throttled,
		})
	}
	for _, y := range sc.yticks {
		p.BarTicks = append(p.BarTicks, tick{pct(y), fmt.Sprint(y)})
	}
}

func newPanel(i int, s *System, sc scale) panel {
	p := panel{
		ID: fmt.Sprintf("panel%d", i), Name: s.Name, How: s.How,
		InFlight: s.InFlight, Connections: s.PeakConnections,
		Flight: sc.area(s.curves.InFlight, s.curves.Step),
		Conns:  sc.line(s.curves.Connections, s.curves.Step),
		Ran:    s.Ran(), Ours: s.Name == ours, Error: s.Error,
		Alt: fmt.Sprintf("%s over %.1f seconds: at most %d invocations in flight and %d database connections.",
			s.Name, s.Seconds, s.InFlight, s.PeakConnections),
	}
	for _, x := range sc.xticks {
		p.XTicks = append(p.XTicks, tick{round(sc.x(x)), fmt.Sprintf("%g s", x)})
	}
	for _, y := range sc.yticks {
		p.YTicks = append(p.YTicks, tick{round(sc.y(float64(y))), fmt.Sprint(y)})
	}
	return p
}

// ours is the system that the report is about.
const ours = "lmipool"

// headline returns the result in one line, made from the figures.
func headline(r *Result) string {
	for _, s := range r.Systems {
		if s.Name == ours && s.Ran() {
			return fmt.Sprintf("%d invocations in flight, %s", s.InFlight, plural(s.PeakConnections, "database connection"))
		}
	}
	low, high := 0, 0
	for _, s := range r.Systems {
		if s.Ran() && (high == 0 || s.PeakConnections < low) {
			low = s.PeakConnections
		}
		if s.Ran() {
			high = max(high, s.PeakConnections)
		}
	}
	switch {
	case high == 0:
		return "No system completed a request"
	case low == high:
		return plural(high, "database connection") + " at the peak"
	default:
		return fmt.Sprintf("From %d to %d database connections for the same load", low, high)
	}
}

// lead returns the text below the headline, about the other systems.
func lead(r *Result) string {
	var others []string
	for _, s := range r.Systems {
		if s.Name != ours && s.Ran() {
			others = append(others, fmt.Sprintf("%d with %s", s.PeakConnections, s.Name))
		}
	}
	load := fmt.Sprintf("%d requests from %d clients", r.Settings.Requests, r.Settings.Clients)
	if len(others) == 0 {
		return fmt.Sprintf("%s, each holding its invocation for %s.", load, unbroken(r.Settings.Hold))
	}
	list := others[0]
	if n := len(others); n > 1 {
		list = strings.Join(others[:n-1], ", ") + " and " + others[n-1]
	}
	return fmt.Sprintf("The same load, %s, each holding its invocation for %s, took at its peak %s.", load, unbroken(r.Settings.Hold), list)
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// spaced returns a Go duration with a space in front of its unit, such as 500 ms. A duration of two units stays as it is.
func spaced(duration string) string {
	if i := strings.IndexFunc(duration, unicode.IsLetter); i >= 0 && strings.IndexFunc(duration[i:], unicode.IsDigit) < 0 {
		return duration[:i] + " " + duration[i:]
	}
	return duration
}

// unbroken is spaced with a no-break space, so that no line ends between the number and its unit.
func unbroken(duration string) string { return strings.ReplaceAll(spaced(duration), " ", "\u00a0") }

package sim

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strings"
)

// Picture is a drawing of values over time. Its panels stand one under the other, and share the time axis, which begins at 0.
type Picture struct {
	Title, Unit string    // Unit is that of the time axis, such as "seconds"
	Times       []float64 // the times of all lines' values, in order
	Spans       []Span
	Panels      []Panel
}

// Panel is one drawing in a Picture. All its lines have the same unit, and the axis begins at 0.
type Panel struct {
	Unit  string // what the values count, such as "connections"
	Lines []Line
}

// Line is one value over time. Values has one value for each of Picture.Times.
type Line struct {
	Name   string
	Values []float64
	Color  int  // 0 is blue, 1 is orange, 2 is green, 3 is gray and dashed
	Steps  bool // the value stays the same until the next time, and then jumps
}

// Span is a time that all panels show with a darker ground, with Name above it.
type Span struct {
	From, To float64
	Name     string
}

// The sizes of a picture and of each panel's plot, in pixels. Each panel is panelEach below the one before. letterWidth is the average.
const (
	plotTop, plotLeft, plotWidth, plotHeight = 74.0, 56.0, 684.0, 110.0
	pictureWidth, panelEach, letterWidth     = 760.0, 152.0, 6.4
)

// pictureHead is what a picture begins with. It has the colors for a light and for a dark page.
const pictureHead = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" width="%g" height="%g" role="img"><title>%s</title><style>
svg{font:12px system-ui,"Segoe UI",Helvetica,Arial,sans-serif}
.ground{fill:#fff}.span{fill:#afb8c1;fill-opacity:.3}text{fill:#1f2328}.title{font-size:15px;font-weight:600}.unit{font-weight:600}.grid{stroke:#d1d9e0}.line{fill:none;stroke-width:1.8;stroke-linejoin:round}
.c0{stroke:#0969da}.c1{stroke:#bc4c00}.c2{stroke:#1a7f37}.c3{stroke:#818b98;stroke-dasharray:5 4}
@media (prefers-color-scheme:dark){.ground{fill:#0d1117}.span{fill:#656c76;fill-opacity:.3}text{fill:#e6edf3}.grid{stroke:#30363d}.c0{stroke:#58a6ff}.c1{stroke:#f0883e}.c2{stroke:#3fb950}.c3{stroke:#9198a1}}
</style><rect class="ground" width="100%%" height="100%%"/>`

// SVG returns the picture as an SVG file, whose bytes follow from p alone.
func (p *Picture) SVG() []byte {
	var b strings.Builder
	put := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	text := func(class, anchor string, x, y float64, s string) {
		put(`<text class="%s" text-anchor="%s" x="%.1f" y="%.1f">%s</text>`, class, anchor, x, y, html.EscapeString(s))
	}
	height := plotTop + panelEach*float64(len(p.Panels)) + 8
	last := p.Times[len(p.Times)-1]
	x := func(t float64) float64 { return plotLeft + plotWidth*t/last }
	put(pictureHead, pictureWidth, height, pictureWidth, height, html.EscapeString(p.Title))
	text("title", "start", 12, 24, p.Title)
	for _, s := range p.Spans {
		text("", "middle", (x(s.From)+x(s.To))/2, 44, s.Name)
		for i := range p.Panels {
			put(`<rect class="span" x="%.1f" y="%g" width="%.1f" height="%g"/>`, x(s.From), plotTop+panelEach*float64(i), x(s.To)-x(s.From), plotHeight)
		}
	}
	for i := range p.Panels {
		p.Panels[i].draw(put, text, plotTop+panelEach*float64(i), p.Times, x)
	}
	for t := 0.0; t <= last; t += tick(last, 10) {
		text("", "middle", x(t), height-panelEach+plotHeight+8, fmt.Sprintf("%.9g", t))
	}
	text("", "middle", plotLeft+plotWidth/2, height-10, p.Unit)
	put("</svg>")
	return []byte(b.String())
}

// draw draws p, whose plot begins at top. x returns where a time is.
func (p *Panel) draw(put func(string, ...any), text func(string, string, float64, float64, string), top float64, times []float64, x func(float64) float64) {
	most := 1.0
	for _, l := range p.Lines {
		most = max(most, slices.Max(l.Values))
	}
	each := tick(most, 4)
	most = math.Ceil(most/each) * each
	y := func(v float64) float64 { return top + plotHeight*(1-v/most) }
	for v := 0.0; v <= most; v += each {
		put(`<path class="grid" d="M%g %.1fh%g"/>`, plotLeft, y(v), plotWidth)
		text("", "end", plotLeft-6, y(v)+4, fmt.Sprintf("%.9g", v))
	}
	text("unit", "start", 12, top-10, p.Unit)
	at := 36 + letterWidth*1.1*float64(len(p.Unit))
	for _, l := range p.Lines {
		var path strings.Builder
		for i, v := range l.Values {
			if l.Steps && i > 0 {
				fmt.Fprintf(&path, "H%.1f", x(times[i]))
			}
			fmt.Fprintf(&path, "%c%.1f %.1f", "ML"[min(i, 1)], x(times[i]), y(v))
		}
		put(`<path class="line c%d" d="M%.1f %gh22%s"/>`, l.Color, at, top-14, path.String())
		text("", "start", at+28, top-10, l.Name)
		at += 48 + letterWidth*float64(len(l.Name))
	}
}

// tick returns the distance of the marks of an axis of length most: 1, 2, 5 or 10 times a power of ten, so that there are at most n.
func tick(most, n float64) float64 {
	each := math.Pow(10, math.Floor(math.Log10(most/n)))
	for i := 0; each*n < most; i++ {
		each *= []float64{2, 2.5, 2}[i%3]
	}
	return each
}

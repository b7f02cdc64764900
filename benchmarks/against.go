package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
)

const againstFile = "against.json"

// Comparison is what against.json holds: the figures of two builds of this program, each with the library at another revision.
type Comparison struct {
	New    Settings  `json:"new"`
	Old    Settings  `json:"old"`
	Ratios []Against `json:"ratios"`
	Errors []string  `json:"errors,omitempty"` // one error of each measurement in which statements failed
}

// Against is the ratio of new to old in one property of one cell: the median of the rounds' ratios, the least and the greatest.
type Against struct {
	Cell   string `json:"cell"`
	Metric string `json:"metric"`
	Value  figure `json:"value"`
	Range  spread `json:"range"`
	Want   string `json:"want,omitempty"`
	Met    *bool  `json:"met,omitempty"`
	New    figure `json:"new"` // median of the rounds
	Old    figure `json:"old"`
}

// measured has the properties that are compared, with the bounds of their ratios. Two sets of 21 rounds of the same build may differ by that much.
var measured = []struct {
	name string
	of   func(report) figure
	want want
}{
	{"throughput", func(r report) figure { return r.Throughput }, atLeast(0.97)},
	{"p99", func(r report) figure { return r.P99 }, atMost(1.1)},
	{"client CPU", func(r report) figure { return r.Client }, want{}},
}

// pair has one round of a cell: both builds made the same measurement, one right after the other.
type pair struct{ new, old report }

// compare measures this build and the build o.against in turn, on one server.
func compare(ctx context.Context, o options, p *progress) (*Comparison, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	selection := o.selected()
	l, err := newLab(ctx, selection)
	if err != nil {
		return nil, err
	}
	defer l.close()
	c := &Comparison{}
	pairs := map[string][]pair{} // by the cell's name, one pair for each round
	p.begin(o, append(selection, selection...))
	defer p.end()
	for round := range o.rounds {
		for _, g := range selection {
			for _, of := range g.cells {
				var x pair
				turns := []struct {
					program string
					into    *report
				}{{self, &x.new}, {o.against, &x.old}}
				if round%2 == 1 {
					turns[0], turns[1] = turns[1], turns[0]
				}
				for _, turn := range turns {
					p.next(round, of)
					if *turn.into, err = l.ask(ctx, turn.program, order{cell: of, durable: g.durable, lanes: o.lanes, seed: uint64(round) + 1, timing: o.timing}); err != nil {
						return nil, err
					}
					if turn.into.Errors > 0 {
						c.Errors = append(c.Errors, fmt.Sprintf("%s of %s: %d statements failed, one with: %s", of.name(), turn.into.Settings.Commit, turn.into.Errors, turn.into.FirstError))
					}
				}
				pairs[of.name()] = append(pairs[of.name()], x)
				if c.New.Started == "" {
					c.New, c.Old = x.new.Settings, x.old.Settings
				}
			}
		}
	}
	for _, s := range []*Settings{&c.New, &c.Old} {
		s.Command = strings.Replace(o.command, "make bench", "make bench-against REV="+c.Old.Commit, 1)
		s.Rounds, s.Short = o.rounds, o.short
		if err := s.ofServers(ctx, l); err != nil {
			return nil, err
		}
	}
	for _, g := range selection {
		for _, of := range g.cells {
			c.Ratios = append(c.Ratios, against(of.name(), pairs[of.name()], !o.short)...)
		}
	}
	return c, nil
}

// against returns the ratios of one cell, with their bounds if wanted is true.
func against(cell string, pairs []pair, wanted bool) (all []Against) {
	for _, m := range measured {
		var news, olds, ratios []float64
		for _, p := range pairs {
			a, b := float64(m.of(p.new)), float64(m.of(p.old))
			news, olds, ratios = append(news, a), append(olds, b), append(ratios, quotient(a, b))
		}
		r := Against{Cell: cell, Metric: m.name, Value: median(ratios), Range: spreadOf(ratios), New: median(news), Old: median(olds)}
		if wanted && m.want.op != "" && r.Value.known() {
			met := m.want.met(r.Value)
			r.Want, r.Met = m.want.String(), &met
		}
		all = append(all, r)
	}
	return all
}

// ask measures o in a new process of program.
func (l *lab) ask(ctx context.Context, program string, o order) (report, error) {
	s, addr, _, err := l.ready(ctx, o)
	if err != nil {
		return report{}, err
	}
	return ask(ctx, program, task{
		Cell: o.name(), Addr: addr, Postmaster: s.pg.Pid(), Lanes: o.lanes, Seed: o.seed, Warmup: o.timing.warmup, Duration: o.timing.duration,
	})
}

func (c *Comparison) failed() bool { return len(c.Errors) > 0 }

// print writes c for a terminal.
func (c *Comparison) print(w io.Writer) error {
	var b strings.Builder
	for _, s := range []struct {
		name string
		of   *Settings
	}{{"new", &c.New}, {"old", &c.Old}} {
		b.WriteString(s.name + "\n")
		s.of.print(&b, "  ", "")
	}
	b.WriteString("\nnew / old: median of the rounds' ratios, least..most of them; medians of new and old (per s, ms, CPU µs per statement)\n\n")
	t := tabwriter.NewWriter(&b, 0, 0, 1, ' ', 0)
	for _, r := range c.Ratios {
		fmt.Fprintf(t, "%s\t%s\t= %vx\t %v\t%v / %v\t%s\n", r.Cell, r.Metric, r.Value, r.Range, r.New, r.Old, verdict(r.Want, r.Met))
	}
	t.Flush()
	for _, e := range c.Errors {
		b.WriteString("\n! " + e)
	}
	_, err := io.WriteString(w, strings.TrimRight(b.String(), "\n")+"\n")
	return err
}

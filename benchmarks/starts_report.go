package main

import (
	"flag"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

const startFile = "start.json"

// startOptions are the flags of bench start.
type startOptions struct {
	rounds  int
	short   bool
	module  string // the directory of this module, where the handlers are built
	out     string
	command string
}

const startHelp = `bench start: from the start of a handler's process to the reply to its first invocation, which runs one query, under lmitest: lmipool's Handler beside
a plain handler on pgxpool, both with and without closing the pool on SIGTERM, and the sizes of the two handlers' binaries. The starts of a round take
turns, and the percentile 25 of the rounds counts. By default it takes about a minute.

`

func parseStart(args []string, stderr io.Writer) (*startOptions, error) {
	o := &startOptions{rounds: 31, module: "benchmarks", out: "out/start"}
	fs := flag.NewFlagSet("bench start", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() {
		_, _ = io.WriteString(stderr, startHelp)
		fs.PrintDefaults()
	}
	fs.IntVar(&o.rounds, "rounds", o.rounds, "how many starts of each handler")
	fs.BoolVar(&o.short, "short", false, "one round, to see that it works; what is wanted is not judged then")
	fs.StringVar(&o.module, "module", o.module, "directory of the benchmarks' source, where the handlers are built")
	fs.StringVar(&o.out, "out", o.out, "directory for "+startFile)
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	o.command = commandOf("make start", fs)
	if o.short && !givenTo(fs)["rounds"] {
		o.rounds = 1
	}
	var err error
	switch {
	case len(fs.Args()) > 0:
		err = fmt.Errorf("unexpected argument %q; every option is a flag such as -rounds 3", fs.Arg(0))
	case o.rounds < 1 || o.rounds > 1000:
		err = fmt.Errorf(`invalid value "%d" for flag -rounds: want 1 to 1000`, o.rounds)
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, err)
	}
	return o, err
}

// startResult is the result of bench start. Times are in milliseconds.
type startResult struct {
	Command string           `json:"command"`
	Rounds  int              `json:"rounds"`
	Sizes   map[string]int64 `json:"sizes_bytes"`
	Rows    []startRow       `json:"starts"`
	short   bool
}

// startRow is one handler.
type startRow struct {
	System string            `json:"system"`
	All    figure            `json:"ms"`
	Parts  map[string]figure `json:"parts_ms"`
	Second figure            `json:"second_ms"`       // how long the second invocation took, right after the first one
	CPU    [2]figure         `json:"cpu_ms"`          // of the handler's process, until main and until the query was answered
	Ratio  figure            `json:"ratio,omitempty"` // of All to that of the row before; 0 for pgxpool
}

const (
	mostOfSize  = 1.13 // what is wanted of lmipool's handler: its size and its start, as multiples of pgxpool's
	mostOfStart = 1.15
)

func (r *startResult) summarize(all [][]oneStart) {
	for i, s := range startSystems {
		row := startRow{System: s.Name, Parts: map[string]figure{}}
		column := func(of func(oneStart) float64) figure {
			var values []float64
			for _, one := range all[i] {
				values = append(values, of(one))
			}
			return quarter(values)
		}
		row.All = column(func(o oneStart) float64 { return o.all })
		for p, name := range startParts {
			row.Parts[name] = column(func(o oneStart) float64 { return o.parts[p] })
		}
		row.Second = column(func(o oneStart) float64 { return o.second })
		row.CPU = [2]figure{column(func(o oneStart) float64 { return o.cpuMain }), column(func(o oneStart) float64 { return o.cpuAll })}
		if s.binary == "lmipool" {
			row.Ratio = row.All / r.Rows[i-1].All
		}
		r.Rows = append(r.Rows, row)
	}
}

func (r *startResult) failed() bool { return false }

func (r *startResult) print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\nfrom the start of the process, in ms; percentile 25 of %d starts in turns; each column is its own percentile\n\n", r.Command, r.Rounds)
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "\tall\t%s\tCPU to main\tCPU to queried\tsecond reply\t\n", strings.Join(startParts, "\t"))
	for _, x := range r.Rows {
		fmt.Fprintf(t, "%s\t%.1f", x.System, float64(x.All))
		for _, p := range startParts {
			fmt.Fprintf(t, "\t%.1f", float64(x.Parts[p]))
		}
		fmt.Fprintf(t, "\t%.1f\t%.1f\t%.1f\t\n", float64(x.CPU[0]), float64(x.CPU[1]), float64(x.Second))
	}
	t.Flush()
	fmt.Fprintln(&b)
	for i, x := range r.Rows {
		if x.Ratio > 0 {
			fmt.Fprintf(&b, "%s to %s: %.2fx %s\n", x.System, r.Rows[i-1].System, float64(x.Ratio), r.judge(float64(x.Ratio), mostOfStart))
		}
	}
	size := float64(r.Sizes["lmipool"]) / float64(r.Sizes["pgxpool"])
	fmt.Fprintf(&b, "size of the binary: %.2f MB to %.2f MB: %.3fx %s\n", float64(r.Sizes["lmipool"])/1e6, float64(r.Sizes["pgxpool"])/1e6, size, r.judge(size, mostOfSize))
	_, err := io.WriteString(w, b.String())
	return err
}

// judge says whether ratio is at most most, as text.
func (r *startResult) judge(ratio, most float64) string {
	if r.short {
		return ""
	}
	met := ratio <= most
	return verdict(fmt.Sprintf("<= %v", most), &met)
}

package main

import (
	"flag"
	"fmt"
	"io"
	"math"
	"regexp"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/lmipool/lmipool/pool"
)

const sizesFile = "sizes.json"

// sizesOptions are the flags of bench sizes.
type sizesOptions struct {
	rounds  int
	timing  timing
	settle  time.Duration // how long a pool may take to find its size, at first and after a change of the mix
	only    *regexp.Regexp
	short   bool
	out     string
	command string
}

const sizesHelp = `bench sizes: lmipool with 1, 2, 4 ... 64 connections beside lmipool with as many as it chooses, of at most 64, on five mixes, and after changes of the
mix; how many connections a cold burst opens and an idle pool keeps. The best size is the least with 97 % of the most throughput, chosen in one set of
rounds and compared with the automatic one in another. By default it takes about 15 minutes.

`

func parseSizes(args []string, stderr io.Writer) (*sizesOptions, error) {
	o := &sizesOptions{rounds: 3, timing: timing{time.Second, 2 * time.Second}, settle: 5 * time.Second, only: regexp.MustCompile(""), out: "out/sizes"}
	fs := flag.NewFlagSet("bench sizes", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() {
		_, _ = io.WriteString(stderr, sizesHelp)
		fs.PrintDefaults()
	}
	fs.IntVar(&o.rounds, "rounds", o.rounds, "how many rounds each set has")
	fs.DurationVar(&o.timing.duration, "duration", o.timing.duration, "of one measurement")
	fs.DurationVar(&o.settle, "settle", o.settle, "before a measurement of the automatic size")
	fs.TextVar(o.only, "only", o.only, "measure what has a `name` that matches this regular expression: cold, a mix, or two mixes as in \"tx3, then point\"")
	fs.BoolVar(&o.short, "short", false, "everything once and for a moment, to see that it works; what is wanted is not judged then")
	fs.StringVar(&o.out, "out", o.out, "directory for "+sizesFile)
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	o.command = commandOf("make sizes", fs)
	if given := givenTo(fs); o.short {
		o.timing.warmup = 30 * time.Millisecond
		if !given["rounds"] {
			o.rounds = 1
		}
		if !given["duration"] {
			o.timing.duration = 100 * time.Millisecond
		}
		if !given["settle"] {
			o.settle = 100 * time.Millisecond
		}
	}
	var err error
	switch {
	case len(fs.Args()) > 0:
		err = fmt.Errorf("unexpected argument %q; every option is a flag such as -rounds 3", fs.Arg(0))
	case o.rounds < 1 || o.rounds > 1000:
		err = fmt.Errorf(`invalid value "%d" for flag -rounds: want 1 to 1000`, o.rounds)
	case o.timing.duration <= 0 || o.timing.duration > time.Hour:
		err = fmt.Errorf(`invalid value "%v" for flag -duration: want more than 0s, at most 1h`, o.timing.duration)
	case o.settle <= 0 || o.settle > time.Hour:
		err = fmt.Errorf(`invalid value "%v" for flag -settle: want more than 0s, at most 1h`, o.settle)
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, err)
	}
	return o, err
}

// expected returns about how long all measurements take.
func (o *sizesOptions) expected() time.Duration {
	const between = 300 * time.Millisecond
	one := o.timing.warmup + o.timing.duration + between
	long := o.settle + o.timing.duration + between
	var each time.Duration
	if o.only.MatchString(coldName) {
		each += 7 * time.Second
	}
	for _, w := range mixes {
		if o.isBase(w) {
			each += time.Duration(len(sizesSwept)) * one
		}
		if o.only.MatchString(w.name) {
			each += 2 * long
		}
	}
	for _, c := range changes {
		if o.only.MatchString(c.name()) {
			each += one + long + o.settle
		}
	}
	return time.Duration(o.rounds) * each
}

func (o *sizesOptions) general() options {
	return options{command: o.command, short: o.short, rounds: o.rounds, lanes: pool.Auto, timing: o.timing}
}

// sizesResult is what sizes.json holds.
type sizesResult struct {
	Settings Settings       `json:"settings"`
	Cold     []coldResult   `json:"cold"`
	Mixes    []mixResult    `json:"mixes"`
	Changes  []changeResult `json:"changes"`
	short    bool
}

type mixResult struct {
	Mix   string         `json:"mix"`
	Sizes map[int]figure `json:"per_s"` // throughput by fixed size
	Best  int            `json:"best"`
	compared
}

type changeResult struct {
	From string `json:"from"`
	To   string `json:"to"`
	Best int    `json:"best"`
	compared
}

// compared has the figures of the automatic size and of the best fixed size: medians of the rounds, and the range of their ratios.
type compared struct {
	Fixed       figure `json:"fixed_per_s"`
	Auto        figure `json:"auto_per_s"`
	Ratio       figure `json:"ratio"`
	Range       spread `json:"ratio_range"`
	Connections figure `json:"auto_connections"` // open connections; the greatest value of the rounds
	InUse       figure `json:"auto_in_use"`
}

func newCompared(auto, fixed []sized) (c compared) {
	var each, autos, fixeds, open, used []float64
	for i := range auto {
		each = append(each, quotient(auto[i].perSecond, fixed[i].perSecond))
		autos, fixeds = append(autos, auto[i].perSecond), append(fixeds, fixed[i].perSecond)
		open, used = append(open, auto[i].connections), append(used, auto[i].inUse)
	}
	c.Auto, c.Fixed, c.Range = median(autos), median(fixeds), spreadOf(each)
	c.Ratio = figure(quotient(float64(c.Auto), float64(c.Fixed)))
	c.Connections, c.InUse = spreadOf(open)[1], median(used)
	return c
}

func (r *sizesResult) failed() bool { return false }

func (r *sizesResult) print(w io.Writer) error {
	var b strings.Builder
	r.Settings.print(&b, "", "1ms")
	b.WriteString("\nper second, medians of the rounds, by the number of connections\n\n")
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "mix")
	for _, n := range sizesSwept {
		fmt.Fprintf(t, "\t%d", n)
	}
	fmt.Fprintln(t, "\tbest")
	for _, m := range r.Mixes {
		fmt.Fprint(t, m.Mix)
		for _, n := range sizesSwept {
			fmt.Fprintf(t, "\t%v", m.Sizes[n])
		}
		fmt.Fprintf(t, "\t%d\n", m.Best)
	}
	t.Flush()
	b.WriteString("\nthe automatic size beside the best one, in other rounds\n\n")
	t = tabwriter.NewWriter(&b, 0, 0, 1, ' ', 0)
	line := func(name string, best int, c compared) {
		fmt.Fprintf(t, "%s:\t%v/s of %v/s\t= %vx\t %v\t%s\t %v open, %v in use, best %d\t%s\n", name, c.Auto, c.Fixed, c.Ratio, c.Range,
			r.judge(atLeast(0.95), c.Ratio), c.Connections, c.InUse, best, r.judge(atMost(float64(best+spare)), c.Connections))
	}
	for _, m := range r.Mixes {
		if m.Fixed > 0 { // otherwise only its best size was asked for
			line(m.Mix, m.Best, m.compared)
		}
	}
	for _, c := range r.Changes {
		line(change{c.From, c.To}.name(), c.Best, c.compared)
	}
	t.Flush()
	b.WriteString("\n")
	t = tabwriter.NewWriter(&b, 0, 0, 1, ' ', 0)
	for _, c := range r.Cold {
		fmt.Fprintf(t, "%s:\t%s\t= %v\t %v\t%s\n", c.Figure, c.System, c.Value, c.Range, r.judge(c.want, c.Value))
	}
	t.Flush()
	_, err := io.WriteString(w, b.String())
	return err
}

// judge returns the bound w and whether x keeps it, as text. It returns "" for a short run, whose figures are too noisy to judge.
func (r *sizesResult) judge(w want, x figure) string {
	if r.short || w.op == "" || math.IsNaN(float64(x)) {
		return ""
	}
	met := w.met(x)
	return verdict(w.String(), &met)
}

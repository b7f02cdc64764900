package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/lmipool/lmipool/pool"
)

// options are the flags.
type options struct {
	rounds  int
	timing  timing
	short   bool
	lanes   pool.Switch // lmipool's Config.Lanes
	only    *regexp.Regexp
	against string // the path of another build of this program; "" if there is none
	out     string
	command string // the command line that repeats the run, without -out
}

// timing is how long one measurement takes.
type timing struct {
	// warmup is also the time in which the pools grow. lmipool needs more than a second for that: until a queue has lasted a second, lmipool takes it
	// for a burst.
	warmup   time.Duration
	duration time.Duration
}

func defaults() options {
	return options{
		rounds: 5,
		timing: timing{warmup: 1500 * time.Millisecond, duration: 2 * time.Second},
		lanes:  pool.Auto,
		only:   regexp.MustCompile(""),
		out:    "out/bench",
	}
}

// parseFlags reads the command line. Its errors name the flag, the value and what would be right.
func parseFlags(args []string, stderr io.Writer) (options, error) {
	o := defaults()
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.IntVar(&o.rounds, "rounds", o.rounds, "how often everything is measured; the medians are reported")
	fs.DurationVar(&o.timing.duration, "duration", o.timing.duration, "of one measurement")
	fs.DurationVar(&o.timing.warmup, "warmup", o.timing.warmup, "before each measurement")
	fs.BoolVar(&o.short, "short", false, "everything once and for a moment, to see that it works; ratios mean nothing then")
	fs.TextVar(o.only, "only", o.only, "measure the cells whose `name` matches this regular expression")
	fs.StringVar((*string)(&o.lanes), "lanes", string(o.lanes), "lmipool's Config.Lanes: auto, shadow or off")
	fs.StringVar(&o.against, "against", "", "measure lmipool only, in turn with another `build` of this program, and compare the two (make bench-against)")
	fs.StringVar(&o.out, "out", o.out, "directory for "+resultFile)
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	o.command = commandOf("make bench", fs)
	given := givenTo(fs)
	if o.against != "" {
		if !given["rounds"] {
			o.rounds = 21
		}
		if !given["only"] {
			o.only = regexp.MustCompile("^(point|rows20|mixed)/" + loopback)
		}
	}
	if o.short {
		o.shorten(given)
	}
	err := o.validate(fs.Args())
	if err != nil {
		_, _ = fmt.Fprintln(stderr, err) // Parse prints its own errors too
	}
	return o, err
}

// givenTo returns the flags that were on the command line.
func givenTo(fs *flag.FlagSet) map[string]bool {
	given := map[string]bool{}
	fs.Visit(func(f *flag.Flag) { given[f.Name] = true })
	return given
}

// commandOf returns the command line that repeats the run. -out is left out, and so is -against, which make bench-against adds.
func commandOf(make string, fs *flag.FlagSet) string {
	var flags []string
	fs.Visit(func(f *flag.Flag) {
		switch f.Name {
		case "out", "against":
		case "short":
			flags = append(flags, "-short")
		case "only": // the shell would read its characters
			flags = append(flags, fmt.Sprintf("-only=%q", f.Value))
		default:
			flags = append(flags, fmt.Sprintf("-%s=%s", f.Name, f.Value))
		}
	})
	if len(flags) == 0 {
		return make
	}
	return make + " ARGS='" + strings.Join(flags, " ") + "'"
}

// selected returns the groups to measure. If two builds are compared, these have only lmipool in closed loops.
func (o *options) selected() []group {
	groups := selected(o.only)
	if o.against == "" {
		return groups
	}
	for i := range groups {
		groups[i].capacity = nil
		groups[i].cells = slices.DeleteFunc(groups[i].cells, func(c cell) bool { return c.system.name != lmipool || c.loop != closed })
	}
	return slices.DeleteFunc(groups, func(g group) bool { return len(g.cells) == 0 })
}

// shorten gives the options that are not in given the values of a quick run.
func (o *options) shorten(given map[string]bool) {
	if !given["rounds"] {
		o.rounds = 1
	}
	if !given["duration"] {
		o.timing.duration = 400 * time.Millisecond
	}
	if !given["warmup"] {
		o.timing.warmup = 300 * time.Millisecond
	}
}

func (o *options) validate(rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("unexpected argument %q; every option is a flag such as -rounds 3", rest[0])
	case o.rounds < 1 || o.rounds > 1000:
		return fmt.Errorf(`invalid value "%d" for flag -rounds: want 1 to 1000`, o.rounds)
	case o.timing.duration <= 0 || o.timing.duration > time.Hour:
		return fmt.Errorf(`invalid value "%v" for flag -duration: want more than 0s, at most 1h`, o.timing.duration)
	case o.timing.warmup < 0 || o.timing.warmup > time.Hour:
		return fmt.Errorf(`invalid value "%v" for flag -warmup: want 0s to 1h`, o.timing.warmup)
	case o.lanes != pool.Auto && o.lanes != pool.Shadow && o.lanes != pool.Off:
		return fmt.Errorf("invalid value %q for flag -lanes: want auto, shadow or off", o.lanes)
	case o.out == "":
		return errors.New(`invalid value "" for flag -out: want a directory such as out/bench`)
	case len(o.selected()) == 0:
		return fmt.Errorf("no cell's name matches -only %q; names are such as %s", o.only, groups()[0].cells[0].name())
	}
	return nil
}

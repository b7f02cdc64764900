package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"regexp"
	"slices"
	"time"

	"github.com/lmipool/lmipool/pool"
)

// overloadOptions are the flags of bench overload.
type overloadOptions struct {
	duration time.Duration // how long the overload of one scenario lasts
	times    int           // how many steps there are, or how often the database stands still
	short    bool
	only     *regexp.Regexp
	out      string
	command  string
}

const overloadHelp = `bench overload: lmipool, pgxpool and a plain queue (pgxpool whose cancels cost no connection) are offered more than the server can do.

Capacity is what the better of lmipool and pgxpool answers in a closed loop, and is measured before each scenario. Loads are open: Poisson arrivals,
and deadlines that count from when a call was due. All have at most 16 connections, and 1
behind a link of 1 ms for point. By default it takes about two hours; -short less than a minute.

`

func parseOverload(args []string, stderr io.Writer) (*overloadOptions, error) {
	o := &overloadOptions{duration: 30 * time.Second, times: 30, only: regexp.MustCompile(""), out: "out/overload"}
	fs := flag.NewFlagSet("bench overload", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() {
		_, _ = io.WriteString(stderr, overloadHelp)
		fs.PrintDefaults()
	}
	fs.DurationVar(&o.duration, "duration", o.duration, "of the overload in each scenario")
	fs.IntVar(&o.times, "times", o.times, "how many steps, and how often the database stands still")
	fs.BoolVar(&o.short, "short", false, "a few scenarios, each for a moment, to see that it works; what is wanted is not judged then")
	fs.TextVar(o.only, "only", o.only, "measure the scenarios whose `name` matches this regular expression")
	fs.StringVar(&o.out, "out", o.out, "directory for "+overloadFile)
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	o.command = commandOf("make overload", fs)
	if o.short {
		given := givenTo(fs)
		if !given["duration"] {
			o.duration = 500 * time.Millisecond
		}
		if !given["times"] {
			o.times = 1
		}
		if !given["only"] {
			o.only = regexp.MustCompile("^(hold|mixed|point|write)/500ms/2x|^hold/(retry/2x|steps$|still$|fair)")
		}
	}
	err := o.validate(fs.Args())
	if err != nil {
		_, _ = fmt.Fprintln(stderr, err)
	}
	return o, err
}

func (o *overloadOptions) validate(rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("unexpected argument %q; every option is a flag such as -times 3", rest[0])
	case o.duration < 100*time.Millisecond || o.duration > time.Hour:
		return fmt.Errorf(`invalid value "%v" for flag -duration: want 100ms to 1h`, o.duration)
	case o.times < 1 || o.times > 1000:
		return fmt.Errorf(`invalid value "%d" for flag -times: want 1 to 1000`, o.times)
	case o.out == "":
		return errors.New(`invalid value "" for flag -out: want a directory such as out/overload`)
	case len(o.selected()) == 0:
		return fmt.Errorf("no scenario's name matches -only %q; names are such as %s", o.only, scenarios()[0].name)
	}
	return nil
}

func (o *overloadOptions) selected() []scenario {
	return slices.DeleteFunc(scenarios(), func(s scenario) bool { return !o.only.MatchString(s.name) })
}

// general returns the options from which the settings of the report are made.
func (o *overloadOptions) general() options {
	return options{command: o.command, short: o.short, rounds: 1, lanes: pool.Auto, timing: timing{o.pauses().calm, o.duration}}
}

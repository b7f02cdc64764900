package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// options are the flags of the demo.
type options struct {
	requests    int
	clients     int
	concurrency int
	hold        time.Duration
	link        time.Duration
	systems     []system
	out         string
	watch       bool
	socket      string // the directory of the functions' status sockets, with watch
	command     string // the command line that repeats the run, without -out
}

// parseFlags reads the command line. Its errors name the flag, the value and what would be right.
func parseFlags(args []string, stderr io.Writer) (options, error) {
	o := options{
		requests:    1000,
		clients:     100,
		concurrency: 64,
		hold:        500 * time.Millisecond,
		link:        time.Millisecond,
		systems:     systems(),
		out:         "out/demo",
	}
	fs := flag.NewFlagSet("demo", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Var(count{&o.requests, 1, 1_000_000}, "n", "requests in all, for each system")
	fs.Var(count{&o.clients, 1, 1000}, "clients", "clients, each with one request at a time")
	fs.Var(count{&o.concurrency, 1, 1600}, "concurrency", "invocations at once in one environment (default-lambda: 1)")
	fs.Var(duration{&o.hold, time.Minute}, "hold", "what the handler waits between its two queries; the original: 5s")
	fs.Var(duration{&o.link, time.Second}, "link", "round trip added between handler and database")
	fs.Var(systemList{&o.systems}, "systems", "systems to run, with commas between them")
	fs.StringVar(&o.out, "out", o.out, "directory for result.json, curves.csv and report.html")
	fs.BoolVar(&o.watch, "watch", false, "serve a page with lmipool's live numbers on this machine, and print its URL")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	var err error
	switch {
	case fs.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q; every option is a flag such as -hold 5s", fs.Arg(0))
	case o.out == "":
		err = errors.New(`invalid value "" for flag -out: want a directory such as out/demo`)
	}
	if err != nil {
		_, _ = fmt.Fprintln(stderr, err) // Parse prints its own errors too
		return o, err
	}
	o.command = "cd examples && go run ./demo"
	fs.Visit(func(f *flag.Flag) {
		if f.Name != "out" && f.Name != "watch" {
			o.command += fmt.Sprintf(" -%s %s", f.Name, f.Value)
		}
	})
	return o, nil
}

// count is a whole number between min and max.
type count struct {
	n        *int
	min, max int
}

func (c count) String() string {
	if c.n == nil {
		return ""
	}
	return strconv.Itoa(*c.n)
}

func (c count) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil || n < c.min || n > c.max {
		return fmt.Errorf("want a whole number from %d to %d", c.min, c.max)
	}
	*c.n = n
	return nil
}

// duration is a duration from 0 to max.
type duration struct {
	d   *time.Duration
	max time.Duration
}

func (v duration) String() string {
	if v.d == nil {
		return ""
	}
	return v.d.String()
}

func (v duration) Set(s string) error {
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || d > v.max {
		return fmt.Errorf("want a duration from 0s to %v, such as 1ms or 5s", v.max)
	}
	*v.d = d
	return nil
}

// systemList is a list of names of systems.
type systemList struct{ systems *[]system }

func (l systemList) String() string {
	if l.systems == nil {
		return ""
	}
	var names []string
	for _, s := range *l.systems {
		names = append(names, s.name)
	}
	return strings.Join(names, ",")
}

func (l systemList) Set(list string) error {
	picked, err := pickSystems(list)
	if err == nil {
		*l.systems = picked
	}
	return err
}

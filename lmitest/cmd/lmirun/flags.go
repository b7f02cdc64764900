package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/lmipool/lmipool/lambdaenv"
	"github.com/lmipool/lmipool/lmitest"
)

const usage = `lmirun runs a Go Lambda binary, unchanged, on this machine, under the rules of
Lambda Managed Instances: many invocations at once in one process.

  lmirun [flags] ./bootstrap [arguments]            one event, prints the reply
  lmirun -n 1000 [flags] ./bootstrap [arguments]    a load, prints a summary

The load:
  -n N          send N requests and print a summary
  -clients N    from N clients at once (default: as many as can run at once)
  -e FILE       the event, JSON; - reads it from standard input (default: {})
The function:
  -c N          invocations at once in one environment, 1 to 1600 (default 64;
                1 where -kind is not lambda-managed-instances)
  -envs N       environments, i.e. processes (default 1)
  -timeout D    the function's timeout (default 3s)
  -kind KIND    lambda-managed-instances (default), on-demand,
                provisioned-concurrency or snap-start
  -env K=V      a variable for the function; may be repeated. It also gets the
                variables of this shell, but none that Lambda sets itself
What is printed:
  -dsn DSN      also the connections to this PostgreSQL database, a URL or
                key=value pairs: the peak, sampled every 10 ms, and how many were
                opened in all. Connections that were there before do not count
  -status ADDR  a page with the live numbers of the function's lmipool, such as
                :8080, for this machine only
  -v            also what the function writes while a load runs

A throttled request is tried again for up to 30 s, with growing pauses, and its
latency includes that. At the end the function gets SIGTERM, and 600 ms later
SIGKILL, as on Lambda: aws-lambda-go does not exit by itself. The exit code is 0 if all requests succeeded, 1 if one
failed for good, 2 for a mistake in the flags.

  lmirun -e event.json ./bootstrap
  DATABASE_URL=postgres://localhost/app lmirun -n 1000 -clients 100 \
      -dsn postgres://localhost/app ./bootstrap
`

type options struct {
	config   lmitest.Config
	requests int // 0: send one event and print its reply
	clients  int
	event    []byte
	dsn      string
	status   string
	verbose  bool
}

// parse reads the command line. Its errors name the flag, the value and what would be right.
func parse(args []string, stdin io.Reader, environ []string) (*options, error) {
	o := &options{event: []byte("{}")}
	c := &o.config
	c.Kind = lambdaenv.ManagedInstances
	c.Environments = 1
	c.Timeout = 3 * time.Second
	c.Env = environ
	var eventFile string

	fs := flag.NewFlagSet("lmirun", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // the caller prints
	fs.Func("n", "", whole(&o.requests, 1_000_000_000))
	fs.Func("clients", "", whole(&o.clients, 100_000))
	fs.Func("c", "", whole(&c.Concurrency, 1600))
	fs.Func("envs", "", whole(&c.Environments, 1000))
	fs.Func("timeout", "", func(s string) (err error) {
		if c.Timeout, err = time.ParseDuration(s); err != nil || c.Timeout < time.Millisecond {
			return errors.New("want a duration such as 500ms, 3s or 15m")
		}
		return nil
	})
	fs.Func("kind", "", func(s string) error {
		for _, k := range []lambdaenv.Kind{
			lambdaenv.ManagedInstances, lambdaenv.OnDemand, lambdaenv.ProvisionedConcurrency, lambdaenv.SnapStart,
		} {
			if s == k.String() {
				c.Kind = k
				return nil
			}
		}
		return errors.New("want lambda-managed-instances, on-demand, provisioned-concurrency or snap-start")
	})
	fs.Func("env", "", func(s string) error {
		if name, _, ok := strings.Cut(s, "="); !ok || name == "" {
			return errors.New("want NAME=value")
		}
		c.Env = append(c.Env, s)
		return nil
	})
	fs.StringVar(&eventFile, "e", "", "")
	fs.StringVar(&o.dsn, "dsn", "", "")
	fs.StringVar(&o.status, "status", "", "")
	fs.BoolVar(&o.verbose, "v", false, "")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}

	managed := c.Kind == lambdaenv.ManagedInstances
	switch {
	case fs.NArg() == 0:
		return nil, errors.New("which binary? want lmirun [flags] ./bootstrap [arguments]")
	case c.Concurrency > 1 && !managed:
		return nil, fmt.Errorf("invalid value %q for flag -c: want 1 with -kind %v, or more with -envs",
			strconv.Itoa(c.Concurrency), c.Kind)
	case o.clients > 0 && o.requests == 0:
		return nil, fmt.Errorf("flag -clients %d: want -n with it, the number of requests", o.clients)
	case c.Concurrency == 0 && managed:
		c.Concurrency = 64
	case c.Concurrency == 0:
		c.Concurrency = 1
	}
	if o.clients == 0 {
		o.clients = c.Concurrency * c.Environments
	}
	c.Command = fs.Args()
	for _, kv := range environ { // reserved in the function; the shell's choice stands for its deployment
		if region, ok := strings.CutPrefix(kv, "AWS_REGION="); ok {
			c.Region = region
		}
	}
	if eventFile != "" {
		var err error
		if o.event, err = readEvent(eventFile, stdin); err != nil {
			return nil, err
		}
	}
	if _, err := exec.LookPath(c.Command[0]); err != nil {
		return nil, fmt.Errorf("the function's binary: %w", err)
	}
	return o, nil
}

// whole parses a whole number from 1 to high.
func whole(v *int, high int) func(string) error {
	return func(s string) (err error) {
		if *v, err = strconv.Atoi(s); err != nil || *v < 1 || *v > high {
			return fmt.Errorf("want a whole number from 1 to %d", high)
		}
		return nil
	}
}

func readEvent(file string, stdin io.Reader) (event []byte, err error) {
	if file == "-" {
		event, err = io.ReadAll(stdin)
	} else {
		event, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, fmt.Errorf("invalid value %q for flag -e: %w; want a JSON file, or - for standard input", file, err)
	}
	if !json.Valid(event) {
		return nil, fmt.Errorf("invalid value %q for flag -e: not JSON (%d bytes)", file, len(event))
	}
	return event, nil
}

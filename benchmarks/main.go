// Command benchmarks compares lmipool with pgxpool on a real PostgreSQL, on loopback and behind a link of 1 ms.
//
//	make bench                            # from the repository's root, about 9 minutes
//	make bench ARGS=-short                # everything once, in less than a minute
//	make bench ARGS='-only ^point/1ms'    # some of it; -h lists the flags
//	make bench-against REV=v0.1.0         # lmipool with itself at another revision
//	make overload                         # more than the server can do, in about two hours
//	make sizes                            # how many connections are right, in about 15 minutes
//	make start                            # from the start of a process to its first reply, in about a minute
//
// Each measurement gets a new pool, a warm-up that does not count, and then its time. The systems that are compared take turns within each round, so
// that other work of the machine disturbs them alike. The table has the median and the range of the rounds. Client CPU is the time of this
// process, which includes the load generator, the same for all systems. Server and link CPU are the times of those processes (see cpu_linux.go,
// link.go).
//
// It prints a table and writes result.json to the directory that -out names. The exit code is 1 if a statement or anything else failed, 2 for a wrong
// command line, 130 after an interrupt. A ratio that is out of its bound is printed and changes no exit code.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

func main() {
	if target := os.Getenv(envLink); target != "" { // this process was started as the link
		os.Exit(serveLink(target))
	}
	if task := os.Getenv(envApart); task != "" { // another build of this program asks for a measurement
		os.Exit(serveTask(task))
	}
	os.Exit(bench(os.Args[1:]))
}

// bench runs what the command line asks for, and returns the exit code.
func bench(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second ^C ends this process at once; the kernel then kills its children

	var r printed
	var err error
	var out string
	switch {
	case len(args) > 0 && args[0] == "overload":
		o, wrong := parseOverload(args[1:], os.Stderr)
		if wrong != nil {
			return misused(wrong)
		}
		r, err = overload(ctx, o, tellStderr)
		out = filepath.Join(o.out, overloadFile)
	case len(args) > 0 && args[0] == "sizes":
		o, wrong := parseSizes(args[1:], os.Stderr)
		if wrong != nil {
			return misused(wrong)
		}
		r, err = measureSizes(ctx, o, tellStderr)
		out = filepath.Join(o.out, sizesFile)
	case len(args) > 0 && args[0] == "start":
		o, wrong := parseStart(args[1:], os.Stderr)
		if wrong != nil {
			return misused(wrong)
		}
		r, err = measureStarts(ctx, o, tellStderr)
		out = filepath.Join(o.out, startFile)
	default:
		o, wrong := parseFlags(args, os.Stderr)
		if wrong != nil {
			return misused(wrong)
		}
		out = filepath.Join(o.out, resultFile)
		if o.against == "" {
			r, err = run(ctx, o, newProgress(os.Stderr))
		} else {
			out = filepath.Join(o.out, againstFile)
			r, err = compare(ctx, o, newProgress(os.Stderr))
		}
	}
	if ctx.Err() != nil {
		fmt.Fprintln(os.Stderr, "bench: interrupted; nothing is left running and nothing was written")
		return 130
	}
	if err == nil {
		err = writeJSON(out, r)
	}
	if err == nil {
		err = r.print(os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	fmt.Printf("\nall of it: %s\n", out)
	if r.failed() {
		return 1
	}
	return 0
}

// printed is the result of a run: print writes its table, and its JSON has all figures.
type printed interface {
	print(w io.Writer) error
	failed() bool
}

// misused returns the exit code for a wrong command line. The flag parser has already printed the error.
func misused(err error) int {
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	return 2
}

func tellStderr(format string, args ...any) { fmt.Fprintf(os.Stderr, format, args...) }

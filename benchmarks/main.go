// Command benchmarks compares lmipool with pgxpool on a real PostgreSQL, on loopback and behind a link of 1 ms.
//
//	make bench                            # from the repository's root, about 9 minutes
//	make bench ARGS=-short                # everything once, in less than one
//	make bench ARGS='-only ^point/1ms'    # some of it; -h lists the flags
//	make bench-against REV=v0.1.0         # lmipool with itself at another revision
//
// Each measurement gets a new pool, a warm-up that does not count, and then its time. The systems that are compared take turns within each round, so
// that other work of the machine disturbs them alike. The table has the median of the rounds, and their range. Client CPU is the time of this
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
	if target := os.Getenv(envLink); target != "" { // this process is the link
		os.Exit(serveLink(target))
	}
	if task := os.Getenv(envApart); task != "" { // another build of this program asks for a measurement
		os.Exit(serveTask(task))
	}
	os.Exit(bench(os.Args[1:]))
}

func bench(args []string) int {
	o, err := parseFlags(args, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second ^C ends this process at once; the kernel then kills its children

	var r interface {
		write(dir string) error
		print(w io.Writer) error
		failed() bool
	}
	file := resultFile
	if o.against == "" {
		r, err = run(ctx, o, newProgress(os.Stderr))
	} else {
		file = againstFile
		r, err = compare(ctx, o, newProgress(os.Stderr))
	}
	if ctx.Err() != nil {
		fmt.Fprintln(os.Stderr, "bench: interrupted; nothing is left running and nothing was written")
		return 130
	}
	if err == nil {
		err = r.write(o.out)
	}
	if err == nil {
		err = r.print(os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	fmt.Printf("\nall of it, with ranges: %s\n", filepath.Join(o.out, file))
	if r.failed() {
		return 1
	}
	return 0
}

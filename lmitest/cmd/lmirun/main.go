// Lmirun runs any Go Lambda binary, unchanged, on your own machine, at the concurrency of Lambda Managed Instances. See lmirun -h.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/lmipool/lmipool/lmitest"
)

// These are the exit codes.
const (
	exitOK          = 0
	exitFailed      = 1 // a request failed for good, or nothing could be run
	exitUsage       = 2
	exitInterrupted = 130
)

func main() {
	// The first Ctrl-C ends the run with a summary and a shutdown. A second one ends this process; on Linux the kernel then kills its children.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdin io.Reader, stdout io.Writer, stderr *os.File) int {
	o, err := parse(args, stdin, os.Environ())
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, usage)
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "lmirun: %v\nlmirun -h tells more.\n", err)
		return exitUsage
	}
	ok, err := drive(ctx, o, stdout, stderr)
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(stderr, "lmirun: interrupted")
		return exitInterrupted
	case err != nil:
		fmt.Fprintf(stderr, "lmirun: %v\n", err)
		return exitFailed
	case !ok:
		return exitFailed
	}
	return exitOK
}

// drive starts the function, sends the events and prints the result. It reports whether all requests succeeded.
func drive(ctx context.Context, o *options, stdout io.Writer, stderr *os.File) (ok bool, err error) {
	var db *database
	if o.dsn != "" {
		if db, err = watchDatabase(ctx, o.dsn); err != nil {
			return false, err
		}
		defer db.close()
	}

	closePage, err := servePage(ctx, o, stderr)
	if err != nil {
		return false, err
	}
	defer closePage()
	quiet := o.requests > 0 && !o.verbose
	config := o.config
	config.Stdout, config.Stderr = stderr, stderr
	last := &lastLines{}
	if quiet {
		config.Stdout, config.Stderr = last, last
	}
	f, err := lmitest.Start(ctx, config)
	if err != nil {
		return false, err
	}
	// Shutdown does not end with ctx: after an interrupt, too, the handler has its 600 ms to close its connections.
	defer func() { err = errors.Join(err, f.Shutdown(context.WithoutCancel(ctx))) }()

	if o.requests == 0 {
		ok, err = once(ctx, f, o.event, stdout, stderr)
	} else {
		began := time.Now()
		r := load(ctx, f, o, newProgress(stderr, o.requests))
		r.took = time.Since(began)
		r.stats = f.Stats()
		r.print(stdout)
		ok = r.failed() == 0
		switch {
		case quiet && r.stats.Exits > 0:
			fmt.Fprintf(stderr, "the handler's last output:\n%s", last)
		case quiet && !ok:
			fmt.Fprintln(stderr, "lmirun: -v also shows what the handler writes")
		}
	}
	if err != nil || db == nil {
		return ok, err
	}
	// PostgreSQL has counted all connections only when they have ended.
	if err := f.Shutdown(context.WithoutCancel(ctx)); err != nil {
		return ok, err
	}
	use, err := db.result(ctx)
	if err != nil {
		return ok, err
	}
	out := stdout
	if o.requests == 0 {
		out = stderr // stdout has the reply only
	}
	fmt.Fprintln(out, use)
	return ok, nil
}

// once sends one event and prints the reply.
func once(ctx context.Context, f *lmitest.Function, event []byte, stdout, stderr io.Writer) (bool, error) {
	r, err := f.Invoke(ctx, event)
	if err != nil {
		return false, err
	}
	if _, err := fmt.Fprintf(stdout, "%s\n", r.Payload); err != nil {
		return false, err
	}
	fmt.Fprintf(stderr, "init %v, reply after %v\n", round(r.InitDuration), round(r.Duration))
	if r.Error != nil {
		fmt.Fprintf(stderr, "failed: %v\n", r.Error)
		return false, nil
	}
	return true, nil
}

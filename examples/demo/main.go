// Command demo repeats the experiment that lmipool grew out of: 1000 requests from 100 clients to a Lambda function
// that asks the database for the time, holds for a while, and asks again. It runs that load against several ways of
// connecting to PostgreSQL, with real Lambda processes and a real server on this machine, and reports how many
// connections each of them took.
//
//	go run ./demo            # about a minute
//	go run ./demo -hold 5s   # the original's hold, several minutes
//	go run ./demo -h
//
// It prints a table and writes result.json, curves.csv and report.html to the directory that -out names. The exit code
// is 1 if a system failed, 2 for a wrong command line, 130 after an interrupt.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/lmipool/lmipool/status"
)

func main() {
	if name := os.Getenv(envSystem); name != "" { // this process is the Lambda function
		if err := serve(name); err != nil {
			fmt.Fprintln(os.Stderr, "demo:", name+":", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(demo(os.Args[1:]))
}

func demo(args []string) int {
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

	if o.watch {
		if o.socket, err = os.MkdirTemp("", "demo"); err == nil {
			defer os.RemoveAll(o.socket)
			var url string
			url, err = status.New(status.Options{Title: "demo", Socket: o.socket}).Start(ctx, "127.0.0.1:0")
			fmt.Fprintln(os.Stderr, "status page:", url)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "demo: -watch:", err)
			return 1
		}
	}
	r, err := run(ctx, o, newProgress(os.Stderr))
	if ctx.Err() != nil {
		fmt.Fprintln(os.Stderr, "demo: interrupted; nothing is left running and nothing was written")
		return 130
	}
	if err == nil {
		err = r.write(o.out)
	}
	if err == nil {
		err = writeTable(os.Stdout, r)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		return 1
	}
	fmt.Printf("\n  report: %s\n", filepath.Join(o.out, "report.html"))
	if len(r.Errors()) > 0 {
		return 1
	}
	return 0
}

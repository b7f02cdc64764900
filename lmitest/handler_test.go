package lmitest_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

// The handler under test: it runs in a child process, under the real aws-lambda-go.

type event struct {
	Do   string // what to do
	Gate string // the gate to wait at, if any, before all else
	Text string
}

type answer struct {
	Text      string
	PID       int
	RequestID string
	ARN       string
	TraceID   string
	Left      int64 // ms from the start to the deadline
	Env       []string
}

func runHandler() { lambda.Start(handle) }

func runHandlerThatWantsSIGTERM() {
	lambda.StartWithOptions(handle, lambda.WithEnableSIGTERM(func() { fmt.Println("SIGTERM came") }))
}

func runHandlerThatDiesOfSIGTERM() { lambda.StartWithOptions(handle, lambda.WithEnableSIGTERM()) }

func handle(ctx context.Context, e event) (any, error) {
	if e.Gate != "" {
		if err := waitAt(e.Gate); err != nil {
			return nil, err
		}
	}
	switch e.Do {
	case "fail":
		return nil, errors.New("as asked")
	case "panic":
		panic("as asked")
	case "exit":
		os.Exit(3)
	case "spawn": // a grandchild that holds the gate, and our output
		cmd := exec.Command(os.Args[0], "holder", e.Text)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Start(); err != nil {
			return nil, err
		}
	case "stream":
		return strings.NewReader(e.Text), nil
	case "stream-fails":
		return io.MultiReader(strings.NewReader(e.Text), brokenReader{}), nil
	case "large":
		return strings.Repeat("x", 7<<20), nil
	}
	a := answer{Text: "hello " + e.Text, PID: os.Getpid(), Env: os.Environ()}
	if lc, ok := lambdacontext.FromContext(ctx); ok {
		a.RequestID, a.ARN = lc.AwsRequestID, lc.InvokedFunctionArn
	}
	a.TraceID, _ = ctx.Value("x-amzn-trace-id").(string)
	if d, ok := ctx.Deadline(); ok {
		a.Left = d.UnixMilli()
	}
	return a, nil
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("the source broke") }

// waitAt tells a gate that we are here and waits until it opens.
func waitAt(address string) error {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := bufio.NewReader(c).ReadByte(); err != nil {
		return err
	}
	return nil
}

func runHolder() { _ = waitAt(os.Args[2]) }

func runInitThatExits() {
	fmt.Fprintln(os.Stderr, "no database here")
	os.Exit(4)
}

// runInitThatHangs does not select {}: in a build without cgo, Go sees a deadlock there and exits.
func runInitThatHangs() { time.Sleep(time.Hour) }

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/lmipool/lmipool/internal/child"
	"github.com/lmipool/lmipool/lambdaenv"
	"github.com/lmipool/lmipool/lmitest"
)

// function is one system as a running Lambda function.
type function struct {
	f    *lmitest.Function
	hold time.Duration
	log  *child.Tail
}

// startFunction runs this program again as the handler, in as many environments as the system needs.
func startFunction(ctx context.Context, sys system, o options, addr string) (*function, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	fn := &function{hold: o.hold, log: &child.Tail{}}
	config := lmitest.Config{
		Command: []string{self},
		Env: []string{
			envSystem + "=" + sys.name,
			envDatabase + "=" + databaseURL(sys, addr),
			envHold + "=" + o.hold.String(),
		},
		Concurrency:  o.concurrency,
		Timeout:      2*o.hold + 10*time.Second,
		InitTimeout:  time.Minute, // a hundred processes start at once
		FunctionName: "demo-" + sys.name,
		Stdout:       fn.log,
		Stderr:       fn.log,
	}
	if o.socket != "" {
		config.Env = append(config.Env, "LMIPOOL_STATUS_SOCKET="+o.socket)
	}
	if sys.onDemand {
		config.Kind, config.Concurrency, config.Environments = lambdaenv.OnDemand, 1, o.clients
	}
	if fn.f, err = lmitest.Start(ctx, config); err != nil {
		return nil, err
	}
	return fn, nil
}

// invoke sends one request. A reply counts only if the database's clock says that the hold lies between the queries.
func (fn *function) invoke(ctx context.Context) error {
	answer, err := fn.f.Invoke(ctx, nil)
	switch {
	case errors.Is(err, lmitest.ErrThrottled):
		return errThrottled
	case err != nil:
		return err
	case answer.Error != nil:
		return answer.Error
	}
	var r reply
	if err := json.Unmarshal(answer.Payload, &r); err != nil {
		return fmt.Errorf("reply %q: %w", answer.Payload, err)
	}
	if held := r.After.Sub(r.Before); held < fn.hold {
		return fmt.Errorf("reply says that %v passed between the queries, want at least %v", held, fn.hold)
	}
	return nil
}

func (fn *function) inFlight() int     { return fn.f.Stats().InFlight }
func (fn *function) peakInFlight() int { return fn.f.Stats().PeakInFlight }
func (fn *function) started() int      { return fn.f.Stats().Starts }

// wrote returns the end of the handlers' output, to append to an error.
func (fn *function) wrote() string {
	lines := strings.Split(strings.TrimSpace(fn.log.String()), "\n")
	if end := strings.Join(lines[max(0, len(lines)-3):], "; "); end != "" {
		return " (the handlers wrote last: " + end + ")"
	}
	return ""
}

// shutdown ends all environments; when it returns no process is left.
func (fn *function) shutdown() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = fn.f.Shutdown(ctx) // if ctx ends, the processes are killed, which does no harm here
}

package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/lmipool/lmipool/status"
)

// servePage serves a page on o.status with the numbers of the function's pools, and has the function write them. close removes what servePage made.
func servePage(ctx context.Context, o *options, stderr io.Writer) (close func(), err error) {
	if o.status == "" {
		return func() {}, nil
	}
	dir, err := os.MkdirTemp("", "lmirun")
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	close = func() {
		stop()
		_ = os.RemoveAll(dir)
	}
	url, err := status.New(status.Options{Title: filepath.Base(o.config.Command[0]), Socket: dir}).Start(ctx, o.status)
	if err != nil {
		close()
		return nil, fmt.Errorf("flag -status: %w", err)
	}
	o.config.Env = append(o.config.Env, "LMIPOOL_STATUS_SOCKET="+dir)
	fmt.Fprintln(stderr, "status page:", url)
	return close, nil
}

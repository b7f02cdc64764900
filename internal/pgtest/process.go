package pgtest

import (
	"context"
	"os/exec"
	"syscall"

	"github.com/lmipool/lmipool/internal/child"
)

// run runs cmd to its end, or until ctx ends.
func run(ctx context.Context, cmd *exec.Cmd) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	p, err := child.Start(cmd)
	if err != nil {
		return err
	}
	select {
	case <-p.Exited():
		return p.Err()
	case <-ctx.Done():
		p.End(syscall.SIGTERM) // initdb then removes what it made, and its children end with their stdin
		return context.Cause(ctx)
	}
}

package lmitest_test

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/lmitest"
)

// runParent starts a function whose handler waits at a gate, and tries to lose the thread that started it.
func runParent() {
	f, err := lmitest.Start(context.Background(), lmitest.Config{Command: []string{os.Args[0], "handler"}, Concurrency: 2})
	if err != nil {
		panic(err)
	}
	for range 20 {
		go func() {
			runtime.LockOSThread() // a locked goroutine that ends takes its thread along
		}()
	}
	_, _ = f.Invoke(context.Background(), []byte(`{"Gate":"`+os.Args[2]+`"}`))
}

func TestKillingTheParentLeavesNoHandlerBehind(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	parent := exec.Command(os.Args[0], "parent", g.address())
	parent.Stderr = os.Stderr
	require.NoError(t, parent.Start())
	handler := g.wantWaiting(1)
	require.NoError(t, parent.Process.Kill())
	require.Error(t, parent.Wait())
	handler.wantGone()
}

// What the process started goes with it, and does not hold its output open.
func TestAnExitTakesGrandchildrenAlong(t *testing.T) {
	t.Parallel()
	f := start(t, "handler", lmitest.Config{Concurrency: 2, NoReplace: true})
	g := newGate(t)
	invoke(t, f, event{Do: "spawn", Text: g.address()})
	grandchild := g.wantWaiting(1)
	require.Equal(t, lmitest.TypeExit, invoke(t, f, event{Do: "exit"}).Error.Type)
	grandchild.wantGone()
}

func init() { programs["parent"] = runParent }

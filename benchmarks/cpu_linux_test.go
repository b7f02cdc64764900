package main

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

// TestServerCPUCountsTheLivingAndTheEnded uses this process in place of a postmaster.
func TestServerCPUCountsTheLivingAndTheEnded(t *testing.T) {
	const burn = `i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo`
	before := readServerCPU(t)

	living := exec.Command("sh", "-c", burn+"; read x") // no CommandContext: the shell ends when its input ends
	in, err := living.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := living.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := living.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil { // the shell has used its CPU time
		t.Fatal(err)
	}
	lives := readServerCPU(t)
	in.Close()
	if err := living.Wait(); err != nil && living.ProcessState.ExitCode() != 1 { // the shell's read, at the end of its input, returns 1
		t.Fatal(err)
	}
	used := living.ProcessState.UserTime() + living.ProcessState.SystemTime()
	ended := readServerCPU(t)

	const fuzz = 3 * tick // how much the two clocks may differ
	if got := lives - before; got < used-fuzz {
		t.Errorf("%v while it lived, want its %v", got, used)
	}
	if ended < lives-fuzz {
		t.Errorf("%v when it had ended, after %v: its time was lost", ended, lives)
	}
	if used < tick {
		t.Skipf("it used only %v: nothing was tested", used)
	}
}

func readServerCPU(t *testing.T) time.Duration {
	t.Helper()
	d, err := serverCPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	return d
}

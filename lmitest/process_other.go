//go:build !unix

package lmitest

import "os/exec"

// These systems have no process groups: only the child is killed, without a signal before.

func isolate(*exec.Cmd) {}

func awaitExit(int) bool { return false }

func terminateGroup(cmd *exec.Cmd) { killGroup(cmd) }

func killGroup(cmd *exec.Cmd) { _ = cmd.Process.Kill() } // an error means that it is gone already

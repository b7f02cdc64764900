//go:build !unix

package lmitest

import "os/exec"

// Systems without process groups: the child alone is killed, and never asked first.

func isolate(*exec.Cmd) {}

func awaitExit(int) bool { return false }

func terminateGroup(cmd *exec.Cmd) { killGroup(cmd) }

func killGroup(cmd *exec.Cmd) { _ = cmd.Process.Kill() } // an error means that it is gone already

package main

import (
	"os"
	"testing"
)

// TestMain lets the test binary be the link and a build to compare with, as the benchmark's own binary is.
func TestMain(m *testing.M) {
	if target := os.Getenv(envLink); target != "" {
		os.Exit(serveLink(target))
	}
	if task := os.Getenv(envApart); task != "" {
		os.Exit(serveTask(task))
	}
	os.Exit(m.Run())
}

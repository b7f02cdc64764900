package main

import (
	"os"
	"testing"
)

// TestMain lets the test binary be the link too, as the benchmark's own binary is.
func TestMain(m *testing.M) {
	if target := os.Getenv(envLink); target != "" {
		os.Exit(serveLink(target))
	}
	os.Exit(m.Run())
}

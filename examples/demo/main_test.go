package main

import (
	"fmt"
	"os"
	"testing"
)

// TestMain lets the test binary be the Lambda function too, as the demo's own binary is.
func TestMain(m *testing.M) {
	if name := os.Getenv(envSystem); name != "" {
		fmt.Fprintln(os.Stderr, serve(name))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

package main

import (
	"io"
	"strings"
	"testing"
	"time"
)

func TestParseFlags(t *testing.T) {
	t.Parallel()
	o, err := parseFlags([]string{"-short", "-duration", "1s", "-only", "^point", "-out", "x"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if o.rounds != 1 || o.timing.duration != time.Second || o.timing.warmup >= time.Second || o.out != "x" {
		t.Errorf("%+v: want one round of the given duration, and a short warm-up", o)
	}
	if want := `make bench ARGS='-duration=1s -only="^point" -short'`; o.command != want {
		t.Errorf("command %s, want %s", o.command, want)
	}
}

func TestFaultyFlagsAreNamed(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"-rounds 0":      "-rounds",
		"-duration 0s":   "-duration",
		"-warmup -1s":    "-warmup",
		"-only (":        "-only",
		"-only nothing":  "point/loopback/closed64/lmipool-2", // what names look like
		"-lanes fast":    "-lanes",
		"-out=":          "-out",
		"point/loopback": "every option is a flag",
	} {
		var b strings.Builder
		if _, err := parseFlags(strings.Fields(args), &b); err == nil || !strings.Contains(b.String(), want) {
			t.Errorf("%s: %v, want an error with %q", args, err, want)
		}
	}
}

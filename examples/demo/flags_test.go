package main

import (
	"io"
	"strings"
	"testing"
	"time"
)

func TestFlagErrorsNameFlagValueAndRemedy(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ args, want string }{
		{"-n 0", `invalid value "0" for flag -n: want a whole number from 1 to 1000000`},
		{"-clients many", `invalid value "many" for flag -clients: want a whole number from 1 to 1000`},
		{"-concurrency 1601", `invalid value "1601" for flag -concurrency: want a whole number from 1 to 1600`},
		{"-hold 5", `invalid value "5" for flag -hold: want a duration from 0s to 1m0s, such as 1ms or 5s`},
		{"-link -1ms", `invalid value "-1ms" for flag -link: want a duration from 0s to 1s, such as 1ms or 5s`},
		{"-systems pgbounce", `invalid value "pgbounce" for flag -systems: no system "pgbounce"; want some of ` + strings.Join(systemNames(), ",")},
		{"-systems ,", `invalid value "," for flag -systems: no system named; want some of ` + strings.Join(systemNames(), ",")},
		{"-out=", `invalid value "" for flag -out: want a directory such as out/demo`},
		{"pgxpool", `unexpected argument "pgxpool"; every option is a flag such as -hold 5s`},
	} {
		var stderr strings.Builder
		_, err := parseFlags(strings.Fields(c.args), &stderr)
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: error %v\nwant %s", c.args, err, c.want)
		}
		if !strings.Contains(stderr.String(), c.want) {
			t.Errorf("%s: the user reads %q, want the error in it", c.args, stderr.String())
		}
	}
}

func TestFlagsRunInTheDemosOrder(t *testing.T) {
	t.Parallel()
	o, err := parseFlags(strings.Fields("-systems pgxpool,default-lambda -hold 5s -out x"), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if got := (systemList{&o.systems}).String(); got != "default-lambda,pgxpool" {
		t.Errorf("systems %s, want default-lambda,pgxpool", got)
	}
	if o.hold != 5*time.Second {
		t.Errorf("hold %v, want 5s", o.hold)
	}
	if want := "cd examples && go run ./demo -hold 5s -systems default-lambda,pgxpool"; o.command != want {
		t.Errorf("command %q, want %q", o.command, want)
	}
}

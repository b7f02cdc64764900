package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"

	"github.com/lmipool/lmipool"
)

// parse reads the command line. Its errors name the flag, the value and what would be right.
func parse(args []string) (in lmipool.PlanInput, role string, err error) {
	fs := flag.NewFlagSet("lmiplan", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // the caller prints
	acu := 0.0
	in.SuperuserReserved, in.Versions, in.Roles = 3, 2, 1
	fs.Func("max-connections", "", whole(&in.MaxConnections, 1, 262143))
	fs.Func("memory", "", number(&in.MemoryGiB, 1, 100_000))
	fs.Func("acu", "", number(&acu, 1, 256))
	fs.Func("superuser-reserved", "", whole(&in.SuperuserReserved, 0, 262143))
	fs.Func("reserved", "", whole(&in.Reserved, 0, 262143))
	fs.Func("others", "", whole(&in.OtherClients, 0, 262143))
	fs.BoolVar(&in.AutoPause, "auto-pause", false, "")
	fs.Func("environments", "", whole(&in.MaxEnvironments, 1, 15000))
	fs.Func("concurrency", "", whole(&in.Concurrency, 1, 1600))
	fs.Func("usual", "", whole(&in.Environments, 1, 15000))
	fs.Func("versions", "", whole(&in.Versions, 1, 10))
	fs.StringVar(&role, "role", "app", "")
	fs.Func("roles", "", whole(&in.Roles, 1, 10))
	if err := fs.Parse(args); err != nil {
		return in, role, err
	}
	given := 0
	for _, v := range []float64{float64(in.MaxConnections), in.MemoryGiB, acu} {
		if v > 0 {
			given++
		}
	}
	switch {
	case fs.NArg() > 0:
		return in, role, fmt.Errorf("%q is no flag: want flags only", fs.Arg(0))
	case given != 1:
		return in, role, fmt.Errorf("want one of -max-connections, -memory and -acu, got %d of them", given)
	case in.MaxEnvironments == 0:
		return in, role, errors.New("want -environments: managed instances have no default maximum")
	case in.Concurrency == 0:
		return in, role, errors.New("want -concurrency: AWS_LAMBDA_MAX_CONCURRENCY, or 1 on any Lambda but managed instances")
	case in.Environments > in.MaxEnvironments:
		return in, role, fmt.Errorf("invalid value \"%d\" for flag -usual: want at most -environments, which is %d", in.Environments, in.MaxEnvironments)
	case in.Environments == 0:
		in.Environments = min(3, in.MaxEnvironments)
	}
	if in.SuperuserReserved == 0 {
		in.SuperuserReserved = -1 // to Plan 0 means the default
	}
	if acu > 0 {
		in.MemoryGiB = 2 * acu
	}
	return in, role, nil
}

// whole returns a function for flag.Func that parses a whole number from low to high.
func whole(v *int, low, high int) func(string) error {
	return func(s string) (err error) {
		if *v, err = strconv.Atoi(s); err != nil || *v < low || *v > high {
			return fmt.Errorf("want a whole number from %d to %d", low, high)
		}
		return nil
	}
}

// number returns a function for flag.Func that parses a number from low to high.
func number(v *float64, low, high float64) func(string) error {
	return func(s string) (err error) {
		if *v, err = strconv.ParseFloat(s, 64); err != nil || !(*v >= low && *v <= high) { // NaN is wrong, too
			return fmt.Errorf("want a number from %v to %v", low, high)
		}
		return nil
	}
}

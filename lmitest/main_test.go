package lmitest_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain is also the main function of the handlers under test, so that no test has to build a binary: the
// test binary starts itself, with the name of one of the programs as its first argument.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		if program, ok := programs[os.Args[1]]; ok {
			program()
			fmt.Fprintln(os.Stderr, "the program returned")
			os.Exit(0)
		}
	}
	goleak.VerifyTestMain(m)
}

var programs = map[string]func(){
	"handler":          runHandler,
	"handler-sigterm":  runHandlerThatWantsSIGTERM,
	"handler-quitting": runHandlerThatDiesOfSIGTERM,
	"raw":              runRawRuntime,
	"init-exits":       runInitThatExits,
	"init-reports":     runInitThatReports,
	"init-hangs":       runInitThatHangs,
	"greeter":          runGreeter,
	"holder":           runHolder,
}

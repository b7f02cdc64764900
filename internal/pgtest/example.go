package pgtest

import (
	"fmt"
	"slices"
	"testing"
)

// Example takes the place of a testing.TB in an Example function, which has none. Where a test would fail, it panics.
type Example struct {
	testing.TB
	cleanups []func()
}

func (*Example) Helper()                      {}
func (*Example) Fatal(args ...any)            { panic(fmt.Sprint(args...)) }
func (*Example) Fatalf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }
func (*Example) Errorf(f string, args ...any) { panic(fmt.Sprintf(f, args...)) }
func (e *Example) Cleanup(f func())           { e.cleanups = append(e.cleanups, f) }

// End runs the cleanups, the last one first.
func (e *Example) End() {
	for _, f := range slices.Backward(e.cleanups) {
		f()
	}
}

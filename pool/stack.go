package pool

import (
	"runtime"
	"strconv"
	"strings"
	"unicode/utf8"
)

// stack is where something happened: program counters only, in place, because
// taking it is on the path of every Acquire and reading it on that of mistakes.
type stack struct {
	pcs [deep]uintptr
	n   int
}

const (
	deep = 10
	// ofAcquire is how many callers of Acquire are recorded: each costs some 40 ns, and the
	// rest of it 300.
	ofAcquire = 5
)

// capture records up to most callers of the function that called it, from skip on.
func (s *stack) capture(skip, most int) {
	s.n = runtime.Callers(skip+2, s.pcs[:most])
}

// lines are "function (file:line)", innermost first, without this package's own
// frames and Go's.
func (s *stack) lines() []string {
	if s.n == 0 {
		return nil
	}
	var lines []string
	frames := runtime.CallersFrames(s.pcs[:s.n])
	for {
		f, more := frames.Next()
		if f.Function != "" && !strings.HasPrefix(f.Function, "runtime.") && !ours(f.Function) {
			lines = append(lines, f.Function+" ("+f.File+":"+strconv.Itoa(f.Line)+")")
		}
		if !more {
			return lines
		}
	}
}

// ours reports whether function is between a caller and the place that captures.
func ours(function string) bool {
	of, ok := strings.CutPrefix(function, thisPackage)
	if !ok {
		return function == "github.com/lmipool/lmipool.InTx"
	}
	return strings.HasPrefix(of, ".(*Pool).") || strings.HasPrefix(of, ".(*admission).") || of == ".InTx" || of == ".inTx"
}

const thisPackage = "github.com/lmipool/lmipool/pool"

// cut shortens s to at most n bytes, at the start of a rune.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

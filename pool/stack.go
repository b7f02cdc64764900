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

// lines are "function (file:line)", innermost first, without the library's own
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

// ours reports whether function is between a caller and the place that captures: of this package or of one
// under internal, but not of their tests, or the root's InTx. The root's other functions call a handler.
func ours(function string) bool {
	of, ok := strings.CutPrefix(packageOf(function), module)
	return ok && (of == "/pool" || strings.HasPrefix(of, "/internal/") && !strings.HasSuffix(of, "_test")) || function == module+".InTx"
}

// module is what the paths of the library's packages begin with.
const module = "github.com/lmipool/lmipool"

// packageOf is the path of function's package: up to the first dot of the last element, and no part of a type argument.
func packageOf(function string) string {
	path, _, _ := strings.Cut(function, "[")
	slash := strings.LastIndexByte(path, '/') + 1
	name, _, _ := strings.Cut(path[slash:], ".")
	return path[:slash] + name
}

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

// Package gostack says where in the code something happened. [Site] records cheaply who called a function that leases a connection. [Mark] finds, among
// all stacks, what the goroutines of one handler call do. Both are for the log, and nothing is decided by them.
//
// Frames of the library, of aws-lambda-go, of database/sql and of Go's runtime are left out: whoever reads them looks for his own code. They are known by the path of
// their package, which a test of package pool holds against the names that Go gives them.
package gostack

import (
	"runtime"
	"strconv"
	"strings"
)

// Site is where something happened. It has program counters only, in place, because it is taken with every Acquire and read only for mistakes.
// Two that are equal are the same place.
type Site struct {
	pcs [Deep]uintptr
	n   int
}

// Deep is how many callers a Site has room for. Each costs some 40 ns, the rest of Capture 300.
const Deep = 10

// Capture records up to most functions: the one that called it and its callers, except the first skip of them.
func (s *Site) Capture(skip, most int) { s.n = runtime.Callers(skip+2, s.pcs[:most]) }

// Here returns the Site of the innermost function of the user's that leads to the call of Here. It costs microseconds.
func Here() (s Site) {
	pcs := make([]uintptr, 4*Deep)
	for pcs = pcs[:runtime.Callers(2, pcs)]; len(pcs) > 0; pcs = pcs[1:] {
		if frame, _ := runtime.CallersFrames(pcs[:1]).Next(); !Hidden(frame.Function) {
			break
		}
	}
	s.n = copy(s.pcs[:], pcs)
	return s
}

// Lines are "file:line function", innermost first, of the user's frames.
func (s *Site) Lines() (lines []string) {
	each(s.pcs[:s.n], func(function, line string) {
		if !Hidden(function) {
			lines = append(lines, line)
		}
	})
	return lines
}

// each calls f with the function of each frame, and with its line as in Lines.
func each(pcs []uintptr, f func(function, line string)) {
	frames := runtime.CallersFrames(pcs)
	for more := len(pcs) > 0; more; {
		var frame runtime.Frame
		if frame, more = frames.Next(); frame.Function != "" {
			f(frame.Function, frame.File+":"+strconv.Itoa(frame.Line)+" "+frame.Function)
		}
	}
}

// Panicked returns, as a Site's Lines, where the panic or runtime.Goexit happened that runs the deferred function which calls it: the innermost frame,
// even if it is the library's, and the user's frames.
func Panicked() (lines []string) {
	pcs := make([]uintptr, 64)
	unwinds := false
	each(pcs[:runtime.Callers(2, pcs)], func(function, line string) {
		switch {
		case strings.HasPrefix(function, "runtime."):
			unwinds = unwinds || function == "runtime.gopanic" || function == "runtime.Goexit"
		case unwinds && (lines == nil || !Hidden(function)):
			lines = append(lines, line)
		}
	})
	return lines
}

// InHandler reports whether the caller runs in the goroutine of a handler call, in which [Mark.Run] is. It costs microseconds.
func InHandler() (found bool) {
	pcs := make([]uintptr, 256)
	each(pcs[:runtime.Callers(2, pcs)], func(function, _ string) { found = found || function == module+"/internal/gostack.(*Mark).Run" })
	return found
}

// module is what the paths of the library's packages begin with.
const module = "github.com/lmipool/lmipool"

// Hidden reports whether function's frames are left out. Those of the library's tests are not.
func Hidden(function string) bool {
	path, _, _ := strings.Cut(function, "[") // dots and slashes of a type argument are not the package's
	slash := strings.LastIndexByte(path, '/') + 1
	name, _, _ := strings.Cut(path[slash:], ".")
	of, own := strings.CutPrefix(path[:slash+len(name)], module)
	if !own {
		return strings.HasPrefix(function, "runtime.") || strings.HasPrefix(function, "database/sql.") || strings.HasPrefix(function, "github.com/aws/aws-lambda-go/")
	}
	return of == "" || of == "/pool" || of == "/stdlib" || of == "/lmitest" || strings.HasPrefix(of, "/internal/") && !strings.HasSuffix(of, "_test")
}

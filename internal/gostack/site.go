package gostack

import (
	"runtime"
	"strconv"
	"strings"
	"sync"
)

// Site is where something happened: program counters only, in place, because taking it is on the path of every Acquire and
// reading it on that of mistakes. Two that are equal are the same place.
type Site struct {
	pcs [Deep]uintptr
	n   int
}

// Deep is how many callers a Site has room for. Each costs some 40 ns, and the rest of it 300.
const Deep = 10

// Capture records up to most frames: the function that called it and its callers, but for the first skip of them.
func (s *Site) Capture(skip, most int) { s.n = runtime.Callers(skip+2, s.pcs[:most]) }

// Lines are "function (file:line)", innermost first, without the library's own frames and Go's.
func (s *Site) Lines() (lines []string) {
	frames := runtime.CallersFrames(s.pcs[:s.n])
	for {
		f, more := frames.Next()
		if f.Function != "" && !strings.HasPrefix(f.Function, "runtime.") && !Own(f.Function) {
			lines = append(lines, f.Function+" ("+f.File+":"+strconv.Itoa(f.Line)+")")
		}
		if !more {
			return lines
		}
	}
}

// module is what the paths of the library's packages begin with.
const module = "github.com/lmipool/lmipool"

// Own reports whether function is between a caller and the place that captures: of package pool or of one
// under internal, but not of their tests, or the root's InTx. The root's other functions call a handler.
func Own(function string) bool {
	path, _, _ := strings.Cut(function, "[") // dots and slashes of a type argument are not the package's
	slash := strings.LastIndexByte(path, '/') + 1
	name, _, _ := strings.Cut(path[slash:], ".")
	of, ok := strings.CutPrefix(path[:slash+len(name)], module)
	return ok && (of == "/pool" || strings.HasPrefix(of, "/internal/") && !strings.HasSuffix(of, "_test")) || function == module+".InTx"
}

// Sites remembers places in the code, to log each once.
type Sites struct {
	mu   sync.Mutex
	seen map[Site]bool
}

// mostSites is how many places are told apart, and therefore how many lines are logged.
const mostSites = 100

// First reports whether s is a new one.
func (i *Sites) First(s *Site) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.seen[*s] || len(i.seen) == mostSites {
		return false
	}
	if i.seen == nil {
		i.seen = make(map[Site]bool)
	}
	i.seen[*s] = true
	return true
}

// Package gostack says where in the code something happened. [Site] records cheaply who called a function that leases a connection. [Mark] finds, among
// all stacks, what the goroutines of one handler call do. Both are for the log, and nothing is decided by them.
//
// Frames of the library, of aws-lambda-go, of database/sql and of Go's runtime are left out: whoever reads them looks for his own code. They are known by the path of
// their package, which a test of package pool holds against the names that Go gives them.
package gostack

import (
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Site is where something happened. It has program counters only, since each Acquire takes one, and only mistakes read it. Equal ones are one place.
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

// Mark marks the goroutine of one handler call, so that the log of a handler that hangs can say where. It costs nothing until the stacks are needed: its
// address is in them, as an argument of Run. (Labels of package runtime/pprof would do too, but that package makes each handler's binary 0.25 MB larger.)
type Mark struct{ _ byte }

// Run calls f. While f runs, [Mark.StacksIn] finds the calling goroutine.
//
//go:noinline
func (m *Mark) Run(f func()) {
	f()
	runtime.KeepAlive(m) // so that the runtime shows m's address, and not what is left in its place
}

// StacksIn returns what the goroutine that m marks does according to stacks, and what the goroutines do that it has started, directly or not: the user's
// frames as a Site's Lines, once for all goroutines that do the same. A goroutine is not found if the one that has started it has ended.
func (m *Mark) StacksIn(stacks string) (found [][]string) {
	marked := fmt.Sprintf("%s/internal/gostack.(*Mark).Run(%p,", module, m)
	ours := map[string]bool{} // the numbers of the goroutines
	all := strings.Split(stacks, "\n\n")
	for more := true; more; {
		more = false
		for i, one := range all {
			number, lines, parent := parse(one)
			if !ours[parent] && !strings.Contains(one, marked) {
				continue
			}
			ours[number], all[i], more = true, "", true
			if lines != nil && !slices.ContainsFunc(found, func(have []string) bool { return slices.Equal(have, lines) }) {
				found = append(found, lines)
			}
		}
	}
	return found
}

// parse returns the number of the goroutine whose stack is one, the user's frames, and the number of the goroutine that has started it. The text is that
// of runtime.Stack: "goroutine 7 [select]:", then for each frame "main.f(0x1, ...)" and "\t/src/main.go:12 +0x1d", and "created by main.g in goroutine 1".
func parse(one string) (number string, lines []string, parent string) {
	text := strings.Split(strings.TrimSpace(one), "\n")
	number, _, _ = strings.Cut(strings.TrimPrefix(text[0], "goroutine "), " ")
	for i := 1; i+1 < len(text); i += 2 {
		if created, ok := strings.CutPrefix(text[i], "created by "); ok {
			_, parent, _ = strings.Cut(created, " in goroutine ")
			break
		}
		place, _, _ := strings.Cut(strings.TrimPrefix(text[i+1], "\t"), " ")
		if function := text[i][:max(0, strings.LastIndexByte(text[i], '('))]; function != "" && !Hidden(function) {
			lines = append(lines, place+" "+function)
		}
	}
	return number, lines, parent
}

// Profiler takes the stacks of all goroutines, once for all callers that want them at the same time. That stops the process for milliseconds; and if 32
// handlers overrun together, the replies that are sent in their place must not wait for 32 of them.
type Profiler struct {
	mu    sync.Mutex
	began time.Time
	text  string
}

const mostStacks = 64 << 20 // bytes; goroutines beyond are not found

// Since returns stacks that were taken after t.
func (p *Profiler) Since(t time.Time) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.began.After(t) {
		p.began = time.Now()
		for size := 1 << 20; ; size *= 2 {
			b := make([]byte, size)
			if n := runtime.Stack(b, true); n < size || size >= mostStacks {
				p.text = string(b[:n])
				break
			}
		}
	}
	return p.text
}

// Tally says which lines of a log to write when the same thing happens again and again at one place: the first at once, and then at most one a minute
// for each message and place. So a thousand mistakes at one place make two lines, and not a thousand. The zero value is ready.
type Tally struct {
	mu     sync.Mutex
	counts map[event]*count
	places map[string]int // how many places of each message have a count of their own
}

// event is a message and the place that it is about, or the message alone for all places beyond mostPlaces.
type event struct {
	message string
	place   any
}

type count struct {
	unsaid int64     // events since the last line
	saidAt time.Time // when the last line was written
}

const (
	// mostPlaces is how many places of one message are told apart, so that a Tally stays small.
	mostPlaces = 100
	sayEvery   = time.Minute
)

// Count counts one more event at place, which must be comparable. If say is true, a line is to be logged now, with attrs: "count" is how many events the
// line stands for, the one that is counted now included. "places" is "other" if message has more than mostPlaces places.
func (t *Tally) Count(message string, place any, now time.Time) (attrs []any, say bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	of := event{message, place}
	c := t.counts[of]
	if c == nil && t.places[message] == mostPlaces {
		of.place = nil
		c = t.counts[of]
	}
	if c == nil {
		if t.counts == nil {
			t.counts, t.places = make(map[event]*count), make(map[string]int)
		}
		c = new(count)
		t.counts[of] = c
		if of.place != nil {
			t.places[message]++
		}
	}
	c.unsaid++
	if !c.saidAt.IsZero() && now.Sub(c.saidAt) < sayEvery {
		return nil, false
	}
	attrs = []any{slog.Int64("count", c.unsaid)}
	if of.place == nil {
		attrs = append(attrs, slog.String("places", "other"))
	}
	c.unsaid, c.saidAt = 0, now
	return attrs, true
}

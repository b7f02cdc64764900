package pool

import (
	"fmt"
	"maps"
	"runtime/pprof"
	"slices"
	"strings"
)

// someoneWorks reports whether a goroutine that could be using one of leases does
// anything but wait for a connection, or for goroutines that do. Which that could be is
// told by the label that the goroutines of the lease's invocation carry; of those that
// carry none of the kind, by what they have in common with the stack that acquired the lease.
//
// Who is parked in the queue of a pool is in that of this one, unless there are more of
// them than wait here: waiting, by scope.
func someoneWorks(leases []*Lease, waiting map[*Scope]int) bool {
	var text strings.Builder
	if pprof.Lookup("goroutine").WriteTo(&text, 1) != nil {
		return true
	}
	labels, functions := make(map[string]int), make(map[string]bool) // by which those who hold are known
	key := "\x00"                                                    // what their labels begin with
	for _, l := range leases {
		own, label := l.stack.functions(), l.scope.label()
		switch {
		case label != "":
			labels[label] = waiting[l.scope]
			key, _, _ = strings.Cut(label, ":")
		case len(own) == 0:
			return true
		}
		maps.Copy(functions, own)
	}
	others := 0 // who wait, and may be waiting elsewhere
	for _, n := range waiting {
		others += n
	}
	for group := range strings.SplitSeq(text.String(), "\n\n") {
		n, does, labelled := parseGroup(group)
		if len(does) == 0 || slices.Contains(does[:min(3, len(does))], "sync.(*WaitGroup).Wait") {
			continue
		}
		waits := does[0] == thisPackage+".(*admission).acquire"
		for label := range labels {
			if strings.Contains(labelled, label) {
				if labels[label] -= n; !waits || labels[label] < 0 {
					return true
				}
			}
		}
		if !strings.Contains(labelled, key) && slices.ContainsFunc(does, func(f string) bool { return functions[f] }) {
			if others -= n; !waits || others < 0 {
				return true
			}
		}
	}
	return false
}

// parseGroup reads from a goroutine profile what n goroutines do.
func parseGroup(group string) (n int, functions []string, labels string) {
	for line := range strings.Lines(group) {
		if l, ok := strings.CutPrefix(line, "# labels: "); ok {
			labels = l
			continue
		}
		// "#	0x45f0ce	net.(*netFD).Accept+0x28	/usr/…/fd_unix.go:172"
		if fields := strings.Split(strings.TrimRight(line, "\n"), "\t"); fields[0] == "#" && len(fields) > 2 {
			function, _, _ := strings.Cut(fields[2], "+0x")
			functions = append(functions, function)
		} else if _, err := fmt.Sscanf(line, "%d @", &n); err == nil {
			continue
		}
	}
	return n, functions, labels
}

// functions are what s and a goroutine can have in common that uses what was acquired
// there: not what starts goroutines.
func (s *stack) functions() map[string]bool {
	set := make(map[string]bool)
	for _, line := range s.lines() {
		function, _, _ := strings.Cut(line, " (")
		if !slices.ContainsFunc(starters, func(p string) bool { return strings.HasPrefix(function, p) }) {
			set[function] = true
		}
	}
	return set
}

// starters begin the names of functions that start goroutines or call everything.
var starters = []string{
	"sync.", "testing.", "reflect.", "net/http.", "context.", "golang.org/x/sync/", "github.com/aws/aws-lambda-go/",
	"github.com/lmipool/lmipool.", thisPackage + ".",
}

package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress shows a person how far the run is: with a bar on a terminal, elsewhere with a line for each quarter of each system's run.
type progress struct {
	w   io.Writer
	bar bool
}

func newProgress(f *os.File) progress {
	return progress{w: f, bar: term.IsTerminal(int(f.Fd()))}
}

// say prints a line of its own.
func (p progress) say(format string, args ...any) { _, _ = fmt.Fprintf(p.w, format+"\n", args...) }

// start begins the count of one system. update may be called from many goroutines; stop ends the count.
func (p progress) start(name string, requests int) (update func(done, requests int), stop func()) {
	if p.bar {
		bar := progressbar.NewOptions(requests,
			progressbar.OptionSetWriter(p.w),
			progressbar.OptionSetDescription(fmt.Sprintf("%-16s", name)),
			progressbar.OptionShowCount(),
			progressbar.OptionSetWidth(30),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionClearOnFinish(),
		)
		return func(int, int) { _ = bar.Add(1) }, func() { _ = bar.Clear() }
	}
	var mu sync.Mutex
	quarter := 1
	return func(done, requests int) {
		mu.Lock()
		defer mu.Unlock()
		if quarter < 4 && done >= requests*quarter/4 {
			p.say("%-16s %d of %d", name, done, requests)
			quarter++
		}
	}, func() {}
}

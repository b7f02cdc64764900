package gostack_test

import (
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/gostack"
)

func here(skip, most int) (s gostack.Site) {
	s.Capture(skip, most)
	return s
}

func TestASiteIsThePlaceInTheCode(t *testing.T) {
	t.Parallel()
	var none gostack.Site
	assert.Empty(t, none.Lines())
	var sites []gostack.Site
	for range 2 {
		sites = append(sites, here(1, gostack.Deep))
	}
	assert.Equal(t, sites[0], sites[1])
	assert.NotEqual(t, sites[0], here(1, gostack.Deep), "another line")
	lines := sites[0].Lines()
	require.NotEmpty(t, lines)
	assert.Regexp(t, `^/.*gostack_test\.go:\d+ github.com/lmipool/lmipool/internal/gostack_test\.TestASiteIsThePlaceInTheCode$`, lines[0])
	assert.NotContains(t, strings.Join(lines, "\n"), "runtime.")
	one := here(0, 1)
	assert.Len(t, one.Lines(), 1)
	assert.Contains(t, one.Lines()[0], "gostack_test.here")
}

func waits(done chan struct{}) { <-done }

func TestAMarkFindsItsGoroutines(t *testing.T) {
	t.Parallel()
	var mine, theirs gostack.Mark
	done, marked := make(chan struct{}), make(chan struct{}, 3)
	defer close(done)
	for range 2 { // two goroutines that do the same, of another mark
		go theirs.Run(func() { waits(done) })
	}
	go mine.Run(func() {
		child := func() { marked <- struct{}{}; waits(done) }
		for range 2 {
			go func() { go child(); marked <- struct{}{}; waits(done) }()
		}
		waits(done)
	})
	for range 4 {
		<-marked
	}
	var p gostack.Profiler
	frame := regexp.MustCompile(`^/.*gostack_test\.go:\d+ github.com/lmipool/lmipool/internal/gostack_test\.\S+$`)
	var found [][]string
	for strings.Count(fmt.Sprint(found), "gostack_test.waits") < 3 {
		require.NoError(t, t.Context().Err())
		time.Sleep(time.Millisecond)
		ours := "\ngithub.com/lmipool/lmipool.(*handler[...]).call(0x1)\n\t/lmipool/handler.go:3 +0x2\nruntime.gopark(...)\n\t/go/proc.go:4\n"
		found = mine.StacksIn(strings.ReplaceAll(p.Since(time.Now()), "]:\n", "]:"+ours)) // in front of each goroutine's own frames
	}
	require.Len(t, found, 3, "the goroutine, its children, their children: each once")
	for _, lines := range found {
		for _, line := range lines {
			assert.Regexp(t, frame, line)
		}
	}
	require.Len(t, found[slices.IndexFunc(found, func(lines []string) bool {
		return strings.HasSuffix(fmt.Sprint(lines), "TestAMarkFindsItsGoroutines.func2]")
	})], 2, "waits, and the function that calls it")
	var none gostack.Mark
	assert.Empty(t, none.StacksIn(p.Since(time.Now())))
	assert.Len(t, theirs.StacksIn(p.Since(time.Now())), 1)
	before := time.Now()
	time.Sleep(time.Millisecond)
	first := p.Since(before)
	assert.Equal(t, first, p.Since(before), "one for all who want one at the same time")
}

func TestPanickedIsWhereItHappened(t *testing.T) {
	t.Parallel()
	fall := map[string]func(){
		"nil":     func() { var none *struct{ n int }; none.n++ },
		"Goexit":  runtime.Goexit,
		"library": func() { (*gostack.Site).Lines(nil) },
	}
	first := map[string]string{"library": `gostack.go:\d+ github.com/lmipool/lmipool/internal/gostack\.\(\*Site\)\.Lines$`}
	for name, f := range fall {
		var lines []string
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer func() {
				_ = recover()
				lines = gostack.Panicked()
			}()
			f()
		}()
		<-done
		want := first[name]
		if want == "" {
			want = `gostack_test\.go:\d+ github.com/lmipool/lmipool/internal/gostack_test\.TestPanicked`
		}
		if assert.NotEmpty(t, lines, name) {
			assert.Regexp(t, want, lines[0], name)
		}
		assert.NotRegexp(t, `runtime\.|\.Panicked`, strings.Join(lines, "\n"), name)
	}
	assert.Empty(t, gostack.Panicked(), "no panic")
}

package gostack_test

import (
	"fmt"
	"regexp"
	"runtime"
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

func TestALabelFindsItsGoroutines(t *testing.T) {
	t.Parallel()
	mine, theirs := gostack.NewLabel(new(int)), gostack.NewLabel(new(int))
	done, marked := make(chan struct{}), make(chan struct{})
	defer close(done)
	go func() {
		mine.Set()
		close(marked)
		waits(done)
	}()
	<-marked
	var p gostack.Profiler
	stacks := func(l gostack.Label) [][]string {
		ours := "#\t0x1\tgithub.com/lmipool/lmipool.Handler[...].func1+0x2\t\t/lmipool/handler.go:3\n#\t0x1\truntime.gopark+0x2\t/go/proc.go:4\n"
		return l.StacksIn(strings.ReplaceAll(p.Since(time.Now()), "}\n#\t", "}\n"+ours+"#\t")) // behind each goroutine's labels
	}
	frame := regexp.MustCompile(`^/.*gostack_test\.go:\d+ github.com/lmipool/lmipool/internal/gostack_test\.\S+$`)
	var found [][]string
	for !strings.Contains(fmt.Sprint(found), "gostack_test.waits") {
		require.NoError(t, t.Context().Err())
		time.Sleep(time.Millisecond)
		found = stacks(mine)
	}
	require.Len(t, found, 1)
	require.Len(t, found[0], 2, "waits, and the function that calls it")
	for _, line := range found[0] {
		assert.Regexp(t, frame, line)
	}
	assert.Empty(t, stacks(theirs))
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

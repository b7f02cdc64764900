package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lmipool/lmipool/lmitest"
)

// result is the result of a load.
type result struct {
	ok, functionErrors, timeouts, platformErrors, throttled int

	latencies []time.Duration // of the requests with a reply
	errors    map[string]int  // how often each error text occurred
	took      time.Duration
	stats     lmitest.Stats
}

func (r *result) add(reply *lmitest.Reply, err error, latency time.Duration) {
	switch {
	case errors.Is(err, lmitest.ErrThrottled):
		r.throttled++
		r.errors[err.Error()]++
		return
	case err != nil:
		r.platformErrors++
		r.errors[err.Error()]++
		return
	case reply.Error == nil:
		r.ok++
	case reply.Error.Type == lmitest.TypeTimedOut:
		r.timeouts++
	case byPlatform(reply.Error.Type):
		r.platformErrors++
	default:
		r.functionErrors++
	}
	r.latencies = append(r.latencies, latency)
	if reply.Error != nil {
		r.errors[alike(reply.Error.Error())]++
	}
}

func byPlatform(errorType string) bool {
	switch errorType {
	case lmitest.TypeExit, lmitest.TypeInit, lmitest.TypeShutDown, lmitest.TypeUnknown, lmitest.TypeTruncated, lmitest.TypeTooLarge:
		return true
	}
	return false
}

func (r *result) failed() int {
	return r.functionErrors + r.timeouts + r.platformErrors + r.throttled
}

const maxErrorTexts = 5

func (r *result) print(w io.Writer) {
	slices.Sort(r.latencies)
	s := r.stats
	done := len(r.latencies)
	fmt.Fprintf(w, "replies      %d ok, %d function errors, %d timeouts, %d other errors, %d throttled for good\n",
		r.ok, r.functionErrors, r.timeouts, r.platformErrors, r.throttled)
	fmt.Fprintf(w, "latency      p50 %v  p90 %v  p99 %v  max %v\n",
		r.quantile(0.50), r.quantile(0.90), r.quantile(0.99), r.quantile(1))
	fmt.Fprintf(w, "throughput   %.1f requests/s, %d in %v, at most %d at once\n",
		float64(done)/r.took.Seconds(), done, round(r.took), s.PeakInFlight)
	fmt.Fprintf(w, "throttled    %d times (each was tried again)\n", s.Throttled)
	fmt.Fprintf(w, "processes    %d started, %d ended by themselves, %d reset; %d late replies\n",
		s.Starts, s.Exits, s.Stops, s.LateReplies)
	if s.Exits > 0 {
		fmt.Fprintf(w, "             the last one: %s\n", s.LastExit.State)
	}

	texts := slices.SortedFunc(maps.Keys(r.errors), func(a, b string) int {
		if d := r.errors[b] - r.errors[a]; d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	for i, text := range texts {
		if i == maxErrorTexts {
			fmt.Fprintf(w, "errors       and %d other texts\n", len(texts)-i)
			break
		}
		fmt.Fprintf(w, "errors       %d × %s\n", r.errors[text], text)
	}
}

// quantile returns the smallest latency that the share q of the requests did not exceed.
func (r *result) quantile(q float64) time.Duration {
	if len(r.latencies) == 0 {
		return 0
	}
	i := int(q*float64(len(r.latencies))+0.999999) - 1
	return round(r.latencies[min(max(i, 0), len(r.latencies)-1)])
}

// round keeps three or four digits.
func round(d time.Duration) time.Duration {
	switch {
	case d > 10*time.Second:
		return d.Round(10 * time.Millisecond)
	case d > 10*time.Millisecond:
		return d.Round(100 * time.Microsecond)
	}
	return d.Round(time.Microsecond)
}

// varies matches what differs between errors that are the same: ids and times.
var varies = regexp.MustCompile(`(RequestId: )?[0-9a-f]{8}-[0-9a-f-]{27}( Error: )?|\b\d[\d.hm]*(ns|µs|ms|s)\b`)

// alike returns text without what varies, so that errors that differ only in it count as the same.
func alike(text string) string {
	return varies.ReplaceAllStringFunc(text, func(s string) string {
		if strings.HasPrefix(s, "RequestId: ") {
			return ""
		}
		return "…"
	})
}

// lastLines keeps the end of a handler's output that is not shown.
type lastLines struct {
	mu sync.Mutex
	b  []byte
}

const maxLastLines = 4 << 10

func (l *lastLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b = append(l.b, p...)
	if over := len(l.b) - maxLastLines; over > 0 {
		l.b = append(l.b[:0], l.b[over:]...)
	}
	return len(p), nil
}

func (l *lastLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.b)
}

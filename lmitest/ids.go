package lmitest

import (
	"crypto/rand"
	"fmt"
	"time"
)

// uuid returns a random (version 4) UUID.
func uuid() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// traceID returns a trace header of an unsampled trace.
func traceID(now time.Time) string {
	var b [20]byte
	_, _ = rand.Read(b[:]) // never fails
	return fmt.Sprintf("Root=1-%08x-%x;Parent=%x;Sampled=0", now.Unix(), b[:12], b[12:])
}

func functionARN(region, name string) string {
	return fmt.Sprintf("arn:aws:lambda:%s:123456789012:function:%s", region, name)
}

// recentIDs remembers the ids of the last 1000 invocations that timed out, as many as AWS's emulator.
type recentIDs struct {
	known map[string]bool
	order []string // used as a ring when it is full
	next  int
}

const maxRecentIDs = 1000

func (r *recentIDs) add(id string) {
	if r.known == nil {
		r.known = make(map[string]bool)
	}
	if len(r.order) < maxRecentIDs {
		r.order = append(r.order, id)
	} else {
		delete(r.known, r.order[r.next])
		r.order[r.next] = id
		r.next = (r.next + 1) % maxRecentIDs
	}
	r.known[id] = true
}

// take reports whether id is in r, and removes it.
func (r *recentIDs) take(id string) bool {
	known := r.known[id]
	delete(r.known, id)
	return known
}

package lmitest

import (
	"crypto/rand"
	"fmt"
	"time"
)

// invocation is one request. Function.mu guards its fields, except for the first three.
type invocation struct {
	id      string
	payload []byte
	outcome chan outcome // buffered, so the only send never blocks

	environment *environment // the environment that got the invocation; nil while the invocation waits
	handedOver  time.Time
	deadline    *time.Timer
	answering   bool          // the runtime is sending its answer
	coldStart   time.Duration // the environment's init, if this is its first invocation
}

type outcome struct {
	reply *Reply
	err   error
}

func newInvocation(payload []byte) *invocation {
	return &invocation{id: uuid(), payload: payload, outcome: make(chan outcome, 1)}
}

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

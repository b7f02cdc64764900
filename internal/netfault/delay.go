package netfault

import (
	"context"
	"sync"
	"time"
)

// delay holds parcels back, those of all links in one queue. One goroutine looks after it, so a delay costs one sleep
// per moment at which something is due, not one per parcel, and no parcel overtakes another.
type delay struct {
	mu    sync.Mutex
	half  time.Duration
	queue []held        // by due
	look  chan struct{} // tells run that the head of queue is another or due earlier
}

type held struct {
	due time.Time
	to  chan<- parcel
	parcel
}

func newDelay() *delay { return &delay{look: make(chan struct{}, 1)} }

// set changes the delay, for what is under way too if it becomes shorter: one long delay would otherwise hold up
// everything behind it long after it was taken back.
func (d *delay) set(half time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.half = max(half, 0)
	latest := time.Now().Add(d.half)
	for i := range d.queue {
		if d.queue[i].due.After(latest) {
			d.queue[i].due = latest
		}
	}
	d.wake()
}

// send sends p to a channel that has room for it, in time.
func (d *delay) send(to chan<- parcel, p parcel) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.half == 0 && len(d.queue) == 0 {
		to <- p
		return
	}
	d.queue = append(d.queue, held{time.Now().Add(d.half), to, p})
	if len(d.queue) == 1 {
		d.wake()
	}
}

func (d *delay) wake() {
	select {
	case d.look <- struct{}{}:
	default:
	}
}

func (d *delay) run(ctx context.Context) {
	for ctx.Err() == nil {
		if due, ok := d.deliver(); ok {
			d.sleepUntil(ctx, due)
			continue
		}
		select {
		case <-d.look:
		case <-ctx.Done():
		}
	}
}

// deliver sends what is due, and returns when the next parcel will be.
func (d *delay) deliver() (next time.Time, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	n := 0
	for n < len(d.queue) && !d.queue[n].due.After(now) {
		d.queue[n].to <- d.queue[n].parcel
		n++
	}
	clear(d.queue[:n]) // the bytes are garbage, though the array lives on
	d.queue = d.queue[n:]
	if len(d.queue) == 0 {
		return next, false
	}
	return d.queue[0].due, true
}

// sleepUntil returns at about due, or earlier, at most 2 ms after there is a reason to look again.
func (d *delay) sleepUntil(ctx context.Context, due time.Time) {
	// An idle runtime waits in whole milliseconds, so its timers are good for all but the last two.
	const fine = 2 * time.Millisecond
	if coarse := time.Until(due) - fine; coarse > 0 {
		timer := time.NewTimer(coarse)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-d.look:
			return
		case <-ctx.Done():
			return
		}
	}
	if rest := time.Until(due); rest > 0 {
		nap(rest)
	}
}

package netfault

import (
	"context"
	"sync"
	"time"
)

// delay holds back the parcels of all links in one queue. One goroutine serves the queue, so there is one sleep for each
// moment at which parcels are due, not one for each parcel, and no parcel overtakes another.
type delay struct {
	mu    sync.Mutex
	half  time.Duration
	queue []held        // in the order of due
	look  chan struct{} // tells run that queue has another head, or that its head is due earlier
}

type held struct {
	due time.Time
	to  chan<- parcel
	parcel
}

func newDelay() *delay { return &delay{look: make(chan struct{}, 1)} }

// set changes the delay. A shorter delay also applies to parcels that are under way: otherwise these would hold up all
// later ones long after the longer delay was taken back.
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

// send sends p, after the delay, to a channel that has room for it.
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

// deliver sends the parcels that are due, and returns when the next one is due. ok is false if there is none.
func (d *delay) deliver() (next time.Time, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	n := 0
	for n < len(d.queue) && !d.queue[n].due.After(now) {
		d.queue[n].to <- d.queue[n].parcel
		n++
	}
	clear(d.queue[:n]) // lets the parcels be collected, since the array lives on
	d.queue = d.queue[n:]
	if len(d.queue) == 0 {
		return next, false
	}
	return d.queue[0].due, true
}

// sleepUntil returns at about due, or earlier if there is a reason to look again: then at most 2 ms after that.
func (d *delay) sleepUntil(ctx context.Context, due time.Time) {
	// An idle Go runtime waits in whole milliseconds, so its timers are exact enough until the last two.
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

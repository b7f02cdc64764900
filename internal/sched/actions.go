package sched

import "time"

// actions are what an event asks for. First the answers are sent, then dials begin, then a group is carried or a connection is closed.
type actions struct {
	first, last *answer       // a list of those to send
	dials       int           // how many to begin
	carry       *Group        // to be carried; nil: none
	close       *Conn         // to be closed; nil: none
	check       time.Duration // after this time tick is to be called; 0: it is not
	join        *Conn         // joinDue is to be called with it
	joinIn      time.Duration // after this time
}

// done returns the actions since the last call.
func (o *actions) done() actions {
	all := *o
	*o = actions{}
	return all
}

// tell ends the wait of r, which is no longer in the queue.
func (o *actions) tell(r *Request, c *Conn, err error) {
	a := r.answer
	a.c, a.err = c, err
	if o.first == nil {
		o.first = a
	} else {
		o.last.next = a
	}
	o.last = a
}

// answer ends a wait: with a connection, with the reason why there is none, or with neither if the request was shared.
type answer struct {
	Traits
	times
	ready chan struct{} // the answer is there; both channels have room for one, so that nobody waits to send
	again chan struct{} // the request is to be asked again whether it can share
	c     *Conn
	err   error
	next  *answer
	told  func(*Conn, error) // is called instead of sending to ready; nil: it is not
	late  *time.Timer        // fires at the request's latest start; nil: it was not needed yet
}

func newAnswer() *answer {
	return &answer{ready: make(chan struct{}, 1), again: make(chan struct{}, 1)}
}

// send wakes the caller that waits for a, which owns a from then on. It returns the next answer of the list.
func (a *answer) send() (next *answer) {
	next, a.next = a.next, nil
	if a.told != nil {
		a.told(a.c, a.err)
	} else {
		a.ready <- struct{}{}
	}
	return next
}

// wait waits until a was sent, which takes a moment.
func (a *answer) wait() {
	if a.told == nil {
		<-a.ready
	}
}

// after returns what receives when d is over.
func (a *answer) after(d time.Duration) <-chan time.Time {
	if a.late == nil {
		a.late = time.NewTimer(d)
	} else {
		a.late.Reset(d)
	}
	return a.late.C
}

// take returns what a, which was sent, brings, and clears it for its next use.
func (a *answer) take() (c *Conn, err error) {
	c, err = a.c, a.err
	a.c, a.err = nil, nil
	if a.late != nil {
		a.late.Stop()
	}
	select {
	case <-a.again: // too late: it has its answer
	default:
	}
	return c, err
}

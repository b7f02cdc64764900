package sched

import "time"

// actions is what an event asks for. Who has an answer is told first, then dials begin, then a group takes off or a connection is closed.
type actions struct {
	first, last *answer       // a list
	dials       int           // to begin
	carry       *Group        // has a connection, to be sent
	close       *Conn         // nobody wants it any more
	check       time.Duration // after which tick is to be called; 0: not
	join        *Conn         // joinDue is to be called with it
	joinIn      time.Duration // after that
}

// done hands over what has come up since the last time.
func (o *actions) done() actions {
	all := *o
	*o = actions{}
	return all
}

// tell ends the wait of r, which is queued no more.
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
	ready chan struct{} // has room for one, so that whoever answers never waits
	again chan struct{} // so has this: whoever waits is to be asked again whether it can share
	c     *Conn
	err   error
	next  *answer
	told  func(*Conn, error) // is called instead; nil: ready is used
}

func newAnswer() *answer {
	return &answer{ready: make(chan struct{}, 1), again: make(chan struct{}, 1)}
}

// send wakes who waits for a, and returns what was behind it in the list: a is the other's from then on.
func (a *answer) send() (next *answer) {
	next, a.next = a.next, nil
	if a.told != nil {
		a.told(a.c, a.err)
	} else {
		a.ready <- struct{}{}
	}
	return next
}

// wait is until a has come, which it does in a moment. What is told has come when it was.
func (a *answer) wait() {
	if a.told == nil {
		<-a.ready
	}
}

// take empties a, which has come.
func (a *answer) take() (c *Conn, err error) {
	c, err = a.c, a.err
	a.c, a.err = nil, nil
	select {
	case <-a.again: // too late
	default:
	}
	return c, err
}

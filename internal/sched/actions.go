package sched

import "time"

// actions are what an event asks for. First the answers are sent, then dials begin, then groups are carried and connections are closed.
type actions struct {
	first, last *answer       // the list of the answers to send
	dials       int           // how many dials are to begin
	carry, end  *Group        // the list of the groups to be carried
	close       []*Conn       // these connections are to be closed
	check       time.Duration // tick is to be called after this time; 0 if it need not be called
	epoch       time.Duration // epoch is to be called after this time; 0 if it need not be called
	join        *Conn         // joinDue is to be called with this connection; nil if it need not be called
	joinIn      time.Duration // joinDue is to be called after this time
	limit       Move          // how the limit has changed
}

// Move is a change of the limit, from one number of connections to another. If From is 0, the limit has not changed.
type Move struct {
	From, To int
	Why      string // one of the reasons below
}

// The reasons for a Move.
const (
	MovedByDemand  = "demand"  // a dial began
	MovedByIdle    = "idle"    // idle connections were closed
	MovedByFence   = "fence"   // all connections were given up
	MovedByFull    = "full"    // the server takes no more connections
	MovedByAway    = "away"    // the server is away
	MovedByCeiling = "ceiling" // SetCeiling or Reserve has left less
	MovedToFewer   = "fewer"   // under load fewer connections answered as many requests
	MovedToMore    = "more"    // under load more connections answered more requests
)

// moved notes that the limit was from and is now to.
func (o *actions) moved(from, to int, why string) {
	if o.limit.From != 0 {
		from = o.limit.From
	}
	if o.limit = (Move{from, to, why}); from == to {
		o.limit = Move{}
	}
}

// done returns the actions that were noted since the last call, and forgets them.
func (o *actions) done() actions {
	all := *o
	*o = actions{}
	return all
}

// tell ends the wait of r, which is no longer in the queue, with c or with err.
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

// takeOff has g carried.
func (o *actions) takeOff(g *Group) {
	if g.next = nil; o.carry == nil {
		o.carry = g
	} else {
		o.end.next = g
	}
	o.end = g
}

// Traits are what is known of a request that begins to wait.
type Traits struct {
	Expect time.Duration // how long the server is expected to take for the request; 0 if that is not known
	Holds  bool          // whether the caller holds a connection; if so, the request goes first, since others wait for that connection
	Key    string        // who shares the request's part of the connections, for Config.Fair
}

// times are the deadlines of a waiting request, and its account. Like Traits they are in its answer: a request that need not wait has no answer.
type times struct {
	due     time.Time // the ctx's deadline, or the end of MaxWait; zero if there is neither
	latest  time.Time // the latest start: from then on the request gets no connection; zero if there is no such time
	account *account  // the account of Traits.Key; nil if Config.Fair is not set
	danger  time.Time // when the request will have waited for dangerPart fourths of the time until latest
}

// answer is how one wait of a request ends: with a connection, with an error, or with neither if the request ran in a group.
type answer struct {
	Traits
	times
	ready chan struct{} // receives when the answer is there; both channels have room for one value, so that sending never blocks
	again chan struct{} // receives when the request is to be asked again whether it can share
	c     *Conn
	err   error
	next  *answer
	told  func(*Conn, error) // is called instead of sending to ready; nil for Acquire, which waits for ready
	late  *time.Timer        // fires at the request's latest start; nil until it is needed for the first time
}

// forgets clears what a knows of the request that used it before. due is the due of the request that uses a next.
func (a *answer) forgets(due time.Time) { a.Traits, a.times = Traits{}, times{due: due} }

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

// wait waits until a was sent. That takes only a moment: the event that has ended the request's wait is about to send a.
func (a *answer) wait() {
	if a.told == nil {
		<-a.ready
	}
}

// after returns a channel that receives when d is over.
func (a *answer) after(d time.Duration) <-chan time.Time {
	if a.late == nil {
		a.late = time.NewTimer(d)
	} else {
		a.late.Reset(d)
	}
	return a.late.C
}

// take returns the connection or the error of a, which was sent, and clears a for its next use.
func (a *answer) take() (c *Conn, err error) {
	c, err = a.c, a.err
	a.c, a.err = nil, nil
	if a.late != nil {
		a.late.Stop()
	}
	select {
	case <-a.again: // too late: the request has its answer
	default:
	}
	return c, err
}

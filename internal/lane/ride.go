package lane

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/sched"
	"github.com/lmipool/lmipool/internal/session"
)

// Ride is a read on its way through a lane: made in its caller's goroutine, queued, taken by a lane, and handed back with its result by the
// scheduler's answer.
type Ride struct {
	Call
	of      *Shared
	st      *catalog.Statement
	desc    *catalog.Description     // what eqb is encoded for
	by      facts.Proven             // what says that it may ride
	eqb     pgx.ExtendedQueryBuilder // the encoded arguments
	expect  time.Duration            // on the server
	text    string                   // what the server gets: st's, but for comments
	traced  context.Context          // what TraceQueryStart returned when it was sent; nil: no tracer
	flushed chan struct{}            // closed when what was sent has left us; set before state says so
	state   atomic.Uint32            // waiting, sent or given up

	// the lane's until the grant, then the caller's
	result  memrows.Result
	types   *memrows.Set // of the connection that carried it
	outcome Outcome
}

// Call is what a caller asks for.
type Call struct {
	Ctx  context.Context // for the tracer
	SQL  string          // as he wrote it
	Args []any
	With *session.Settings // what it runs with; nil: nothing
}

// Who was first, the lane that sends a statement or the caller who gives it up? What is given up is not sent; what was sent is read, and dropped.
const (
	waiting uint32 = iota
	sent
	givenUp
)

// Outcome says what a ride came to.
type Outcome uint8

const (
	Unsent Outcome = iota
	Own            // it has its own result, or its own error
	Again          // it did nothing, or its result was dropped: it runs again, alone
	Lost           // its connection was lost, for the reason in Err
)

// spare are rides that are over, with nothing in them but the space that their arguments took. At tens of thousands a second
// they would be a large part of the garbage, and its collector would run beside the statements of the moment.
var spare = sync.Pool{New: func() any { return &Ride{} }}

// Encode makes a ride of call, whose text and arguments are what the server is to get, or says why it goes alone. timed: it is
// of use to know how long it takes then.
func (s *Shared) Encode(call Call, st *catalog.Statement, text string, args []any) (r *Ride, timed bool, why string) {
	desc, by, expect, why := st.Shareable()
	switch why {
	case "", catalog.AloneNew, catalog.AloneSlow, catalog.AloneLarge: // it rides, or may yet
		timed = true
	}
	switch {
	case why != "":
		return nil, timed, why
	case len(args) != len(desc.ParamOIDs): // what cannot be encoded is pgx's to judge, and to word
		return nil, timed, catalog.AloneArgs
	}
	r = spare.Get().(*Ride)
	if !desc.Encode(&r.eqb, args) {
		st.Doubt(desc)
		return nil, timed, catalog.AloneArgs
	}
	size := 0
	for _, v := range r.eqb.ParamValues {
		size += len(v)
	}
	if size > catalog.Large {
		return nil, timed, catalog.AloneLarge
	}
	r.Call, r.of, r.st, r.desc, r.by, r.expect, r.text = call, s, st, desc, by, expect, text
	return r, timed, ""
}

// rideOf is what has been asked for with w, which has boarded.
func rideOf(w *sched.Request) *Ride { return w.Share.(*Ride) }

// graceToSend bounds the wait in Withdraw.
const graceToSend = 20 * time.Millisecond

// Cost is for the scheduler.
func (r *Ride) Cost() time.Duration { return r.expect }

// Withdraw is for the scheduler: r's caller has left, because of err. What was sent is read, and dropped, by the lane; until it has left us he
// waits, so that nothing is sent after he has gone: a moment, unless the network takes nothing any more.
func (r *Ride) Withdraw(err error) {
	if r.state.CompareAndSwap(waiting, givenUp) {
		return
	}
	select {
	case <-r.flushed:
	case <-time.After(graceToSend):
	}
	r.traceEnd(err)
}

// boards makes r ready to be sent with the group that flushed is of, unless it may not ride any more, or its caller has gone. The
// tracer hears of it, on the lane's goroutine.
func (r *Ride) boards(flushed chan struct{}) bool {
	if t := r.of.Tracer; t != nil {
		r.of.Protect("TraceQueryStart", func() {
			r.traced = t.TraceQueryStart(r.Ctx, r.of.Closed, pgx.TraceQueryStartData{SQL: r.SQL, Args: r.Args})
		})
	}
	r.flushed = flushed
	if !r.state.CompareAndSwap(waiting, sent) {
		r.traceEnd(context.Canceled)
		return false
	}
	// Ask for what the statement returns by now, if it was described anew meanwhile and takes what the arguments are encoded for.
	if d := r.st.Description(); d != nil && d != r.desc && r.desc.TakesTheSame(d, &r.of.types) {
		r.desc, r.eqb.ResultFormats = d, d.Formats
	}
	return true
}

// traceEnd calls TraceQueryEnd, if TraceQueryStart was called.
func (r *Ride) traceEnd(err error) {
	if r.traced == nil {
		return
	}
	end := pgx.TraceQueryEndData{Err: err}
	if err == nil {
		end.CommandTag = r.result.Tag()
	}
	r.of.Tracer.TraceQueryEnd(r.traced, r.of.Closed, end)
}

// ends says what r came to. If that is not its own, what was read is dropped, and there is err instead.
func (r *Ride) ends(o Outcome, err error) {
	if r.outcome = o; o == Own {
		r.result.End(r.desc.Shown, err)
	} else {
		r.result.Fail(err)
	}
}

// End says what r came to, and with which error, when its caller has the scheduler's answer.
func (r *Ride) End() (Outcome, error) {
	r.traceEnd(r.result.Err())
	return r.outcome, r.result.Err()
}

// Take returns the result of r, whose outcome is its own, and the types that decode it, and is the end of r.
func (r *Ride) Take() (result memrows.Result, types *memrows.Set) {
	result, types = r.result, r.types
	*r = Ride{eqb: r.eqb}
	// pgconn keeps those of a statement that the server has skipped, and looks at them when it reads the answer to a later one. (It also keeps
	// its fields, with which that is read: so a ride's rows are decoded by its own, never by pgconn's.)
	r.eqb.ResultFormats = nil
	spare.Put(r)
	return result, types
}

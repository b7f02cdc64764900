package lane

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/sched"
	"github.com/lmipool/lmipool/internal/session"
)

// Ride is one read that shares a lane. Its caller's goroutine makes it and queues it; a lane takes it; the scheduler's answer hands it back.
type Ride struct {
	Call
	of      *Shared
	st      *catalog.Statement
	desc    *catalog.Description      // the description for which eqb is encoded
	by      facts.Proven              // the facts that say that the statement may ride
	eqb     pgx.ExtendedQueryBuilder  // the encoded arguments, and the formats of the result
	shown   []pgconn.FieldDescription // the columns of the result, in these formats
	text    string                    // the text that the server gets: st's text, perhaps with comments
	traced  context.Context           // the ctx that TraceQueryStart has returned; nil if it was not called
	flushed chan struct{}             // is closed when the group is in the socket; it is set before state becomes sent
	boarded time.Time                 // when the ride's group was about to be sent
	state   atomic.Uint32             // waiting, sent or givenUp

	// Only the lane uses these until the scheduler's answer, and only the caller afterwards.
	result  memrows.Result
	types   *memrows.Set // the types of the connection that has carried the ride
	server  net.Addr     // what that connection leads to
	outcome Outcome
}

// Call is one read as its caller has asked for it.
type Call struct {
	Ctx  context.Context // only the tracer gets it
	SQL  string          // the text as the caller wrote it
	Args []any
	With *session.Settings // the settings of pool.Pool.With; nil if there are none

	Formats pgx.QueryResultFormatsByOID // the formats that the call asks for; nil if it leaves them to pgx
}

// The states of a ride say who came first: the lane that sends it, or the caller who gives it up. A ride that was given up is not sent.
const (
	waiting uint32 = iota
	sent
	givenUp
)

// Outcome says how a ride ended.
type Outcome uint8

const (
	Unsent Outcome = iota
	Own            // the caller gets the ride's result or error
	Again          // the ride failed or its result was dropped, so the statement has to run again, alone
	Lost           // the connection was lost; End returns why
)

// spare has rides that are over, so that their memory for encoded arguments is used again. At tens of thousands of rides a second this memory would be a
// large part of the garbage, and the garbage collector takes CPU from the statements that run.
var spare = sync.Pool{New: func() any { return &Ride{} }}

// Encode returns a ride for call, or the reason why call goes alone. The server gets text and args, which differ from call's if a pgx.QueryRewriter has
// changed them. timed reports whether the catalog can use the time that call takes when it goes alone.
func (s *Shared) Encode(call Call, st *catalog.Statement, text string, args []any) (r *Ride, timed bool, why string) {
	desc, by, why := st.Shareable()
	switch why {
	case "", catalog.AloneNew, catalog.AloneSlow, catalog.AloneLarge: // the statement rides, or may ride later
		timed = true
	}
	switch {
	case why != "":
		return nil, timed, why
	case len(args) != len(desc.ParamOIDs): // the call goes alone, so that the caller gets pgx's error
		return nil, timed, catalog.AloneArgs
	}
	r = spare.Get().(*Ride)
	shown, ok := desc.Encode(&r.eqb, args, call.Formats)
	if !ok {
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
	r.Call, r.of, r.st, r.desc, r.shown, r.by, r.text = call, s, st, desc, shown, by, text
	return r, timed, ""
}

// rideOf returns the ride of w, a request that has boarded.
func rideOf(w *sched.Request) *Ride { return w.Share.(*Ride) }

// graceToSend bounds the wait in Withdraw, because writing to the socket can hang.
const graceToSend = 20 * time.Millisecond

// Cost tells the scheduler how long r will probably take on the server.
func (r *Ride) Cost() time.Duration { return r.st.Expected() }

// Withdraw is called by the scheduler when r's caller leaves because of err. A ride that waits is not sent any more. If r is being sent, Withdraw
// waits until r is in the socket, at most graceToSend, so that nothing is sent after the caller has gone. The lane reads the answer and drops it.
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

// boards calls the tracer and makes r ready to be sent. It returns false if r's caller has gone. flushed is closed when r's group has been sent.
func (r *Ride) boards(flushed chan struct{}, now time.Time) bool {
	r.boarded = now
	if t := r.of.Tracer; t != nil {
		r.of.Protect("TraceQueryStart", func() {
			r.traced = t.TraceQueryStart(r.Ctx, r.of.Closed(), pgx.TraceQueryStartData{SQL: r.SQL, Args: r.Args})
		})
	}
	r.flushed = flushed
	if !r.state.CompareAndSwap(waiting, sent) {
		r.traceEnd(context.Canceled)
		return false
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
	r.of.Tracer.TraceQueryEnd(r.traced, r.of.Closed(), end)
}

// ends notes how r ended. Unless the outcome is Own, the rows are dropped, and r's error is err.
func (r *Ride) ends(o Outcome, err error) {
	if r.outcome = o; o == Own {
		r.result.End(r.shown, err)
	} else {
		r.result.Fail(err)
	}
}

// End returns how r ended, and its error. The caller calls it after the scheduler's answer.
func (r *Ride) End() (Outcome, error) {
	r.traceEnd(r.result.Err())
	return r.outcome, r.result.Err()
}

// Sent returns when r boarded, and what the connection leads to that has carried r; nil if r has no answer.
func (r *Ride) Sent() (at time.Time, server net.Addr) { return r.boarded, r.server }

// Take returns the result of r, whose outcome is Own, and the types that decode it. r must not be used afterwards: another call may get it.
func (r *Ride) Take() (result memrows.Result, types *memrows.Set) {
	result, types = r.result, r.types
	*r = Ride{eqb: r.eqb}
	// The next ride gets a new slice: when the server has skipped a statement, pgconn keeps that statement's result formats and looks at them while
	// it reads a later answer. It keeps the fields too, so a ride's rows are decoded with the ride's own description and never with pgconn's.
	r.eqb.ResultFormats = nil
	spare.Put(r)
	return result, types
}

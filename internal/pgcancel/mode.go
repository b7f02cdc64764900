package pgcancel

import "context"

// Mode says what the end of a ctx does to what a connection runs.
type Mode uint32

const (
	asPgx    Mode = iota // pgx's own way: the socket's deadline is over, the connection lost
	asks                 // the server is asked to stop it; then the connection is as good as before
	waitOnly             // its answer is waited for, and that is all: it is a COMMIT, say
)

// Lent is called when a lease gets the connection.
func (c *Canceler) Lent() {
	if !c.off {
		c.mode.Store(uint32(asks))
	}
}

// AsPgx gives the connection pgx's own way: nobody has it now, or its user has it raw.
func (c *Canceler) AsPgx() { c.mode.Store(uint32(asPgx)) }

// WaitOnly has the end of a ctx wait for the answer and do no more, until Restore is called with what it returns.
func (c *Canceler) WaitOnly() (was Mode) {
	was = Mode(c.mode.Load())
	if !c.off {
		c.mode.Store(uint32(waitOnly))
	}
	return was
}

// Restore ends what WaitOnly has begun.
func (c *Canceler) Restore(was Mode) { c.mode.Store(uint32(was)) }

// Uncancelable runs a call that does no more than begin or end a transaction. pgx closes the
// connection if its ctx ends before or meanwhile, however quickly it answers; to cancel a
// COMMIT means not to know what became of it or, while it waits for a standby, to have it
// reported before the standby has it. So when ctx ends its answer is waited for, as for
// any other, and nothing else is done.
func (c *Canceler) Uncancelable(ctx context.Context, call func(context.Context) error) (err error) {
	if c.off {
		return call(ctx)
	}
	defer c.Restore(c.WaitOnly())
	if ctx.Done() == nil {
		return c.Explain(call(ctx))
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		c.Cancel(ctx.Err())
	})
	defer func() { // also when a tracer panics: ctx's end must not stop what the next user runs
		if !stop() {
			<-ended
			c.Answered()
		}
		err = c.Explain(err)
	}()
	return call(context.WithoutCancel(ctx))
}

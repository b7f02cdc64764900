package pool

import (
	"context"

	"github.com/lmipool/lmipool/internal/sched"
)

// callback is the function of an InTx while it runs. What is done with its ctx is done
// on its behalf: it does not end, and its connection does not come free, before.
type callback struct {
	scope *Scope
	outer *callback // whose ctx InTx was called with; nil: none
	// within has what it holds: nothing with somebody else's pool, and for a savepoint. It is
	// set once, before the function runs.
	within   sched.Within
	starting bool // BEGIN is under way: this is no use of the pool inside the function
}

// callbackContext is context.WithValue(ctx, scopeKey{}, callback): what looks for its
// scope in a ctx finds both in one go.
type callbackContext struct {
	context.Context
	callback
}

func (c *callbackContext) Value(key any) any {
	if key == (scopeKey{}) {
		return &c.callback
	}
	return c.Context.Value(key)
}

// placeOf returns the scope and the callback that ctx belongs to, or nil.
func placeOf(ctx context.Context) (*Scope, *callback) {
	mustHave(ctx)
	switch v := ctx.Value(scopeKey{}).(type) {
	case *Scope:
		return v, nil
	case *callback:
		return v.scope, v
	}
	return nil, nil
}

// begin puts c at its place: that of the ctx that InTx was called with.
func (c *callback) begin(ctx context.Context) {
	c.starting = true
	if c.scope, c.outer = placeOf(ctx); c.outer != nil {
		c.within.Outer = &c.outer.within
	}
}

// begun notes that BEGIN is over, whatever came of it.
func (c *callback) begun() { c.starting = false }

// holding notes that c holds the connection that was asked for with r; nil: nothing any more.
func (c *callback) holding(r *sched.Request) { c.within.Holds = r }

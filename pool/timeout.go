package pool

import (
	"context"
	"errors"
	"net"
	"reflect"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"
)

// pgconn.Timeout looks for an error of a type that only pgconn can make. An error of ours that means the same, since a ctx
// has ended that pgx would have said it of, has a method As that lends it one: it is not in the chain, which says nothing
// that pgconn has not said.

// timedOut returns such an error of pgconn's, from a dial that reaches nobody; nil if this pgconn makes none.
var timedOut = sync.OnceValue(func() error {
	c, err := pgconn.ParseConfig(neverDialed)
	if err != nil { // as deadconn.go has it
		return nil
	}
	c.LookupFunc = func(context.Context, string) ([]string, error) { return []string{"127.0.0.1"}, nil }
	c.DialFunc = func(context.Context, string, string) (net.Conn, error) { return nil, context.DeadlineExceeded }
	_, err = pgconn.ConnectConfig(context.Background(), c)
	return innermostTimeout(err)
})

// innermostTimeout is the error in the tree of err that is one by itself.
func innermostTimeout(err error) error {
	if !pgconn.Timeout(err) {
		return nil
	}
	var inside []error
	switch x := err.(type) { //nolint:errorlint // it walks the tree itself
	case interface{ Unwrap() []error }:
		inside = x.Unwrap()
	case interface{ Unwrap() error }:
		inside = []error{x.Unwrap()}
	}
	for _, e := range inside {
		if t := innermostTimeout(e); t != nil {
			return t
		}
	}
	return err
}

// asTimeout lends target, of errors.As, pgconn's error if that is what it looks for.
func asTimeout(target any) bool {
	t := timedOut()
	return t != nil && reflect.TypeOf(target) == reflect.PointerTo(reflect.TypeOf(t)) && errors.As(t, target)
}

// As has pgconn.Timeout say what it says of pgx's error when a deadline is over.
func (e *canceledError) As(target any) bool {
	return errors.Is(e.why, context.DeadlineExceeded) && asTimeout(target)
}

// As has pgconn.Timeout say what it says of pgx's error when a ctx had ended before, for whatever reason.
func (e *unsentError) As(target any) bool {
	return (errors.Is(e.err, context.DeadlineExceeded) || errors.Is(e.err, context.Canceled)) && asTimeout(target)
}

// As has pgconn.Timeout be true if a deadline is over.
func (e *AcquireError) As(target any) bool {
	return errors.Is(e.Err, context.DeadlineExceeded) && asTimeout(target)
}

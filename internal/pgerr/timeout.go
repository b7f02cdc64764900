package pgerr

import (
	"context"
	"errors"
	"net"
	"reflect"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgproto3"
)

// pgconn.Timeout looks for an error of a type that only pgconn can make. An error of ours that means the same, since a ctx
// has ended that pgx would have said it of, has a method As that lends it one: it is not in the chain, which says nothing
// that pgconn has not said.

// timedOut is such an error of pgconn's, from a connection that nobody uses; nil if this pgconn makes none.
var timedOut = sync.OnceValue(func() error {
	here, _ := net.Pipe()
	c, err := pgconn.Construct(&pgconn.HijackedConn{Conn: here, Config: &pgconn.Config{
		BuildFrontend: pgproto3.NewFrontend,
		BuildContextWatcherHandler: func(*pgconn.PgConn) ctxwatch.Handler {
			return &pgconn.DeadlineContextWatcherHandler{Conn: here}
		},
	}})
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 0)
	defer cancel()
	return innermostTimeout(c.Exec(ctx, "").Close())
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

// AsTimeout lends target, of errors.As, pgconn's error if that is what it looks for.
func AsTimeout(target any) bool {
	t := timedOut()
	return t != nil && reflect.TypeOf(target) == reflect.PointerTo(reflect.TypeOf(t)) && errors.As(t, target)
}

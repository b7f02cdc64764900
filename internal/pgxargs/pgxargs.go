// Package pgxargs says what pgx is told by the arguments of a statement: which of them are options, and what its text is then.
package pgxargs

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// Options are what pgx takes from the front of a statement's arguments, in any order. Of two of a kind the last counts.
type Options struct {
	Mode     pgx.QueryExecMode // 0: none was given
	Rewriter pgx.QueryRewriter // nil: none
	Args     []any             // what is left: the arguments themselves
	given    []any             // the options, as they were given
}

// Parse reads args as pgx does.
func Parse(args []any) (o Options) {
	for n, a := range args {
		switch a := a.(type) {
		case pgx.QueryExecMode:
			o.Mode = a
		case pgx.QueryResultFormats, pgx.QueryResultFormatsByOID:
		case pgx.QueryRewriter:
			o.Rewriter = a
		default:
			o.given, o.Args = args[:n], args[n:]
			return o
		}
	}
	o.given = args
	return o
}

// Foreign reports whether there is a rewriter of the user's. It may look at the connection, and make another text each time.
func (o *Options) Foreign() bool {
	switch o.Rewriter.(type) {
	case nil, pgx.NamedArgs, pgx.StrictNamedArgs, Fixed:
		return false
	}
	return true
}

// Few reports whether there is no option but perhaps one rewriter: any other is for a connection to deal with.
func (o *Options) Few() bool {
	return len(o.given) == 0 || len(o.given) == 1 && o.Rewriter != nil
}

// Rewritten applies a rewriter of pgx's own, or Fixed, to sql: they do not look at the connection. ok is false if there is a
// rewriter of the user's, or if it fails.
func (o *Options) Rewritten(ctx context.Context, sql string) (text string, args []any, ok bool) {
	if o.Rewriter == nil {
		return sql, o.Args, true
	}
	if o.Foreign() {
		return "", nil, false
	}
	text, args, err := o.Rewriter.RewriteQuery(ctx, nil, sql, o.Args)
	return text, args, err == nil
}

// With are arguments with another mode (0: none), the formats that were given, another rewriter (nil: none) and args.
func (o *Options) With(mode pgx.QueryExecMode, rewriter pgx.QueryRewriter, args []any) []any {
	all := make([]any, 0, len(o.given)+2+len(args))
	if mode != 0 {
		all = append(all, mode)
	}
	for _, a := range o.given {
		switch a.(type) {
		case pgx.QueryResultFormats, pgx.QueryResultFormatsByOID:
			all = append(all, a)
		}
	}
	if rewriter != nil {
		all = append(all, rewriter)
	}
	return append(all, args...)
}

// Text is sql as the server gets it, if no rewriter of the user's changes it.
func Text(ctx context.Context, sql string, args []any) (string, bool) {
	o := Parse(args)
	text, _, ok := o.Rewritten(ctx, sql)
	return text, ok
}

// Fixed is a rewriter that has done its work. One of the user's may make another text each time it is asked, so it is asked once, before anybody
// judges what is sent.
type Fixed struct {
	SQL  string
	Args []any
	Err  error
}

// RewriteQuery returns f.
func (f Fixed) RewriteQuery(context.Context, *pgx.Conn, string, []any) (string, []any, error) {
	return f.SQL, f.Args, f.Err
}

// Caches reports whether pgx keeps in this mode what it has of a text.
func Caches(mode pgx.QueryExecMode) bool {
	return mode == pgx.QueryExecModeCacheStatement || mode == pgx.QueryExecModeCacheDescribe
}

// RewriteQueued applies a rewriter as pgx does in a batch, where it is the only option there is. c is for one of the user's.
func RewriteQueued(ctx context.Context, c *pgx.Conn, sql string, args []any) (string, []any, error) {
	var rw pgx.QueryRewriter
	for len(args) > 0 {
		r, ok := args[0].(pgx.QueryRewriter)
		if !ok {
			break
		}
		rw, args = r, args[1:]
	}
	if rw == nil {
		return sql, args, nil
	}
	return rw.RewriteQuery(ctx, c, sql, args)
}

// CopyBatch returns a copy of b that was not sent yet: pgx writes down in a batch what the connection knows of it.
func CopyBatch(b *pgx.Batch) *pgx.Batch {
	c := *b
	queries := make([]pgx.QueuedQuery, len(b.QueuedQueries))
	c.QueuedQueries = make([]*pgx.QueuedQuery, len(queries))
	for i, q := range b.QueuedQueries {
		queries[i] = *q
		c.QueuedQueries[i] = &queries[i]
	}
	return &c
}

// MayChange reports whether an argument is a buffer, which its caller may use for something else as
// soon as a Query has returned: what is found to be stale later must not be sent again with it.
func MayChange(args []any) bool { return slices.ContainsFunc(args, mayChange) }

func mayChange(arg any) bool {
	switch v := arg.(type) {
	case nil, string, bool, int, int32, int64, float64, time.Time:
		return false
	case pgx.NamedArgs:
		return MayChange(slices.Collect(maps.Values(v)))
	case pgx.StrictNamedArgs:
		return MayChange(slices.Collect(maps.Values(v)))
	}
	t := reflect.TypeOf(arg)
	return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8
}

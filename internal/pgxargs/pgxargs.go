// Package pgxargs reads the arguments of a statement as pgx does: which of them are options, and which text pgx sends because of them.
package pgxargs

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
)

// Options has the options that pgx takes from the front of a statement's arguments, in any order. If there are two of a kind, the last one counts.
type Options struct {
	Mode     pgx.QueryExecMode // 0 if none was given
	Rewriter pgx.QueryRewriter // nil if none was given
	Args     []any             // the arguments behind the options
	given    []any             // the options, as they were given

	Formats pgx.QueryResultFormatsByOID // nil if none were given
}

// Parse reads args as pgx does.
func Parse(args []any) (o Options) {
	for n, a := range args {
		switch a := a.(type) {
		case pgx.QueryExecMode:
			o.Mode = a
		case pgx.QueryResultFormats:
		case pgx.QueryResultFormatsByOID:
			o.Formats = a
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

// Foreign reports whether Rewriter is the user's own. Such a rewriter may look at the connection, and return another text each time.
func (o *Options) Foreign() bool {
	switch o.Rewriter.(type) {
	case nil, pgx.NamedArgs, pgx.StrictNamedArgs, Fixed:
		return false
	}
	return true
}

// Few reports whether there is no option except perhaps one rewriter and one map of formats. A statement with any other option cannot ride.
func (o *Options) Few() bool {
	n := len(o.given)
	if o.Rewriter != nil {
		n--
	}
	if o.Formats != nil {
		n--
	}
	return n == 0
}

// Rewritten applies a rewriter of pgx's own, or Fixed, to sql: these do not look at the connection. ok is false for a user's own, or if it fails.
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

// With returns the arguments of a statement: mode unless it is 0, the formats that were given, rewriter unless it is nil, and args.
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

// Text returns the text that the server gets for sql. It returns false if the user's own rewriter makes that text.
func Text(ctx context.Context, sql string, args []any) (string, bool) {
	o := Parse(args)
	text, _, ok := o.Rewritten(ctx, sql)
	return text, ok
}

// Fixed is a rewriter that always returns the same text. A user's rewriter may return another text each time. So it is called once, and its result is
// put in a Fixed before the pool decides what the text may do.
type Fixed struct {
	SQL  string
	Args []any
	Err  error
}

// RewriteQuery returns f.
func (f Fixed) RewriteQuery(context.Context, *pgx.Conn, string, []any) (string, []any, error) {
	return f.SQL, f.Args, f.Err
}

// Caches reports whether pgx, in this mode, keeps a text's prepared statement or description for later.
func Caches(mode pgx.QueryExecMode) bool {
	return mode == pgx.QueryExecModeCacheStatement || mode == pgx.QueryExecModeCacheDescribe
}

// RewriteQueued applies a rewriter as pgx does in a batch, where there are no other options. The user's own rewriter gets c.
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

// CopyBatch returns a copy of b, which must not have been sent: sending stores a connection's prepared statements in a batch.
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

// MayChange reports whether an argument is a buffer. The caller may write to a buffer as soon as Query has returned. So a statement with such an
// argument must not be sent again later, when its prepared statement turns out to be stale.
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

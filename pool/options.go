package pool

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// options are what pgx takes from the front of a statement's arguments, in any order. Of two of a kind the last counts.
type options struct {
	mode     pgx.QueryExecMode // 0: none was given
	rewriter pgx.QueryRewriter // nil: none
	given    []any             // the options, as they were given
	args     []any             // what is left: the arguments themselves
}

func parseArgs(args []any) (o options) {
	for n, a := range args {
		switch a := a.(type) {
		case pgx.QueryExecMode:
			o.mode = a
		case pgx.QueryResultFormats, pgx.QueryResultFormatsByOID:
		case pgx.QueryRewriter:
			o.rewriter = a
		default:
			o.given, o.args = args[:n], args[n:]
			return o
		}
	}
	o.given = args
	return o
}

// foreign reports whether there is a rewriter of the user's. It may look at the connection, and make another text each time.
func (o *options) foreign() bool {
	switch o.rewriter.(type) {
	case nil, pgx.NamedArgs, pgx.StrictNamedArgs, fixed:
		return false
	}
	return true
}

// few reports whether there is no option but perhaps one rewriter: any other is for a connection to deal with.
func (o *options) few() bool {
	return len(o.given) == 0 || len(o.given) == 1 && o.rewriter != nil
}

// rewritten applies a rewriter of pgx's own, or ours, to sql: they do not look at the connection. ok is false if there is a
// rewriter of the user's, or if it fails.
func (o *options) rewritten(ctx context.Context, sql string) (text string, args []any, ok bool) {
	if o.rewriter == nil {
		return sql, o.args, true
	}
	if o.foreign() {
		return "", nil, false
	}
	text, args, err := o.rewriter.RewriteQuery(ctx, nil, sql, o.args)
	return text, args, err == nil
}

// with are arguments with another mode (0: none), the formats that were given, another rewriter (nil: none) and args.
func (o *options) with(mode pgx.QueryExecMode, rewriter pgx.QueryRewriter, args []any) []any {
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

// textOf is sql as the server gets it, if no rewriter of the user's changes it.
func textOf(ctx context.Context, sql string, args []any) (string, bool) {
	o := parseArgs(args)
	text, _, ok := o.rewritten(ctx, sql)
	return text, ok
}

package pool

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/sqltext"
)

// A rewriter of the user's may make another text each time it is asked. So it is asked once, before the pool judges what is sent.

// fixed is a rewriter that has done its work.
type fixed struct {
	sql  string
	args []any
	err  error
}

func (f fixed) RewriteQuery(context.Context, *pgx.Conn, string, []any) (string, []any, error) {
	return f.sql, f.args, f.err
}

// fix is args with what their rewriter makes of sql. It gets the connection, and may send something.
func (l *Lease) fix(ctx context.Context, sql string, args []any) []any {
	o := parseArgs(args)
	if !o.foreign() {
		return args
	}
	before, same := l.c.wire.Sent(), l.meaning == meansSame && !l.foreign()
	var f fixed
	f.sql, f.args, f.err = o.rewriter.RewriteQuery(ctx, l.c.pg, sql, o.args)
	if l.c.wire.Sent() != before { // nobody knows what
		l.noteAny()
		l.changes(sqltext.MayChangeMeaning, true)
		l.residue.AddNamed(sqltext.NoTrace)
		l.residue.AddParsed(nil, !same)
	}
	return o.with(o.mode, f, o.args) // a tracer sees these
}

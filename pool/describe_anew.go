package pool

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// Behind a pooler the next transaction may run in another session. So a statement must not be parsed in one
// flight and executed, without a name, in the next: there the statement without a name may be somebody else's. Outside a
// transaction pgx's mode cache_describe is used, which sends the text again with its arguments. What
// pgx has in its cache for that text is dropped before, since it was described under other settings, and after.

// describedAnew is args with a mode that executes sql in one flight, and takes nothing from pgx's caches.
func (l *Lease) describedAnew(ctx context.Context, sql string, args []any) ([]any, error) {
	if l.c.pg.Config().DescriptionCacheCapacity == 0 {
		return inMode(pgx.QueryExecModeExec, args), nil
	}
	given, rewriter, args := split(args)
	given = append(given, pgx.QueryExecModeCacheDescribe)
	if rewriter != nil {
		var err error
		if sql, args, err = rewriter.RewriteQuery(ctx, l.c.pg, sql, args); err != nil {
			return nil, fmt.Errorf("rewrite query failed: %w", err)
		}
		given = append(given, fixed{sql: sql, args: args}) // it may answer otherwise the second time
	}
	return append(given, args...), l.c.describes(ctx, sql)
}

// split is args as formats, a rewriter, and what is left. Modes are dropped.
func split(args []any) (formats []any, rewriter pgx.QueryRewriter, rest []any) {
	for ; len(args) > 0; args = args[1:] {
		switch a := args[0].(type) {
		case pgx.QueryExecMode:
		case pgx.QueryResultFormats, pgx.QueryResultFormatsByOID:
			formats = append(formats, a)
		case pgx.QueryRewriter:
			rewriter = a
		default:
			return formats, rewriter, args
		}
	}
	return formats, rewriter, nil
}

// describes has pgx describe sql the next time it is sent, and forget that afterwards.
func (c *conn) describes(ctx context.Context, sql string) error {
	c.anew = append(c.anew, sql)
	return c.forget(ctx, []string{sql})
}

// forgetDescribed drops what was described so, before the next statement. It sends nothing, unless pgx
// has prepared the same texts too.
func (c *conn) forgetDescribed(ctx context.Context) error {
	texts := c.anew
	if texts == nil {
		return nil
	}
	c.anew = nil
	return c.forget(ctx, texts)
}

// forgetDescribedNow is forgetDescribed at the end of a lease.
func (c *conn) forgetDescribedNow() {
	if c.anew == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), goodbyeTimeout)
	defer cancel()
	_ = c.forgetDescribed(ctx) // else the connection is lost
}

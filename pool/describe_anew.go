package pool

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/pgxargs"
)

// Behind a pooler the next transaction may run in another session. So a statement must not be parsed in one
// flight and executed, without a name, in the next: there the statement without a name may be somebody else's. Outside a
// transaction pgx's mode cache_describe is used, which sends the text again with its arguments. What
// pgx has in its cache for that text is dropped before, since it was described under other settings, and after.

// describedAnew is o's arguments with a mode that executes sql in one flight, and takes nothing from pgx's caches.
func (l *Lease) describedAnew(ctx context.Context, sql string, o *pgxargs.Options) ([]any, error) {
	if l.c.pg.Config().DescriptionCacheCapacity == 0 {
		return o.With(pgx.QueryExecModeExec, o.Rewriter, o.Args), nil
	}
	if o.Rewriter == nil {
		return o.With(pgx.QueryExecModeCacheDescribe, nil, o.Args), l.c.describes(ctx, sql)
	}
	sql, args, err := o.Rewriter.RewriteQuery(ctx, l.c.pg, sql, o.Args)
	if err != nil {
		return nil, fmt.Errorf("rewrite query failed: %w", err)
	}
	given := o.With(pgx.QueryExecModeCacheDescribe, pgxargs.Fixed{SQL: sql, Args: args}, args) // it may answer otherwise the second time
	return given, l.c.describes(ctx, sql)
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

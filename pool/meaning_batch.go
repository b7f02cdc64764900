package pool

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/pgxargs"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// meantBatch is q as it has to be for its texts to mean what they say in their session as it is
// now: see meaning.go. A batch takes no mode; but what is prepared under its own text pgx uses
// rather than its caches. named are the texts that were prepared so: they must not be there any
// more when the batch is over, since the next statements may run under other settings.
func (l *Lease) meantBatch(ctx context.Context, q *pgx.Batch) (meant *pgx.Batch, named []string, err error) {
	l.heard()
	if err := l.c.forgetDescribed(ctx); err != nil {
		return nil, nil, err
	}
	if l.meaning == meansSame && l.with.Custom() {
		return q, nil, nil
	}
	if same, err := l.settled(ctx); same || err != nil || !pgxargs.Caches(l.c.reach.Mode()) {
		return q, nil, err
	}
	meant = pgxargs.CopyBatch(q)
	for _, qq := range meant.QueuedQueries { // all, before anything is prepared: a rewriter of the user's may fail
		if qq.SQL, qq.Arguments, err = pgxargs.RewriteQueued(ctx, l.c.pg, qq.SQL, qq.Arguments); err != nil {
			return nil, nil, err
		}
	}
	var tried []string
	defer func() {
		if named == nil { // an error, or a tracer that panics
			l.unname(ctx, tried)
		}
	}()
	for _, qq := range meant.QueuedQueries {
		if !l.c.reach.Own() && l.c.reach.Mode() == pgx.QueryExecModeCacheDescribe {
			if err := l.c.describes(ctx, qq.SQL); err != nil {
				return nil, nil, err
			}
			continue
		}
		if qq.SQL == "" || slices.Contains(tried, qq.SQL) || l.c.isName(qq.SQL) {
			continue
		}
		tried = append(tried, qq.SQL)
		sd, err := l.c.pg.Prepare(ctx, qq.SQL, qq.SQL)
		if err != nil {
			return nil, nil, err
		}
		if !strings.HasPrefix(sd.Name, "stmt_") {
			tried = tried[:len(tried)-1]
		}
	}
	return meant, tried, nil
}

// unname drops what meantBatch has prepared. What cannot be dropped now is dropped when the
// lease ends.
func (l *Lease) unname(ctx context.Context, named []string) {
	for _, sql := range named {
		if l.c.pg.Deallocate(ctx, sql) != nil {
			l.residue.AddNamed(sqltext.SessionTrace)
			return
		}
	}
}

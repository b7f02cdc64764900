package pool

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
)

// forget drops what pgx has in its caches for these texts, on both sides, and nothing else. pgx
// drops the entry of a text whose Query fails; so it is given a Query that fails before anything
// of it is sent. With the next Query, which is another of these, it drops on the server what
// it has dropped itself.
func (c *conn) forget(ctx context.Context, texts []string) error {
	ctx = context.WithValue(ctx, silentKey{}, true)
	for _, sql := range append(texts, "") {
		r, err := c.pg.Query(ctx, sql, failing{})
		r.Close()
		if err != nil && !errors.Is(err, errForgotten) {
			return err
		}
	}
	return nil
}

// failing is a rewriter that fails.
type failing struct{}

func (failing) RewriteQuery(context.Context, *pgx.Conn, string, []any) (string, []any, error) {
	return "", nil, errForgotten
}

var errForgotten = errors.New("lmipool: a statement is to be forgotten")

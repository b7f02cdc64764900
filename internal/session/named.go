package session

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"
)

// DropNamed drops the statements that users have prepared in c's session under names of their own, on both
// sides: pgx would take the next user's statement of the same name for this one, or go on
// believing in one that only the server has dropped.
func (b *Baseline) DropNamed(ctx context.Context, c *pgx.Conn) error {
	r := c.PgConn().ExecParams(ctx, `select name, statement from pg_catalog.pg_prepared_statements
		where from_sql or name operator(pg_catalog.!~) '^(stmtcache_|lmipool_)' or name operator(pg_catalog.=) '`+witness+`'`, nil, nil, nil, nil).Read()
	if r.Err != nil {
		return r.Err
	}
	kept := 0
	for _, row := range r.Rows {
		name, statement := string(row[0]), string(row[1])
		if _, ours := b.Prepared[name]; ours || name == witness {
			kept++
			continue
		}
		if err := c.Deallocate(ctx, name); err != nil {
			return err
		}
		if strings.HasPrefix(name, "stmt_") { // to pgx its name is its text; the server has no more to do
			if err := c.Deallocate(ctx, statement); err != nil {
				return err
			}
		}
	}
	if kept <= len(b.Prepared) {
		return ErrNoReset // a statement of AfterConnect's is gone, or all
	}
	return nil
}

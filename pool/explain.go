package pool

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/lmipool/lmipool/internal/sqltext"
)

// prepare is pgx's Prepare, guarded: it too waits for locks.
func (c *conn) prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error) {
	pl := c.pg.PgConn().StartPipeline(ctx)
	pl.SendQueryParams(newGuard(c.session).look, nil, nil, nil, nil)
	pl.SendPrepare(name, sql, nil)
	err := pl.Sync()
	var sd *pgconn.StatementDescription
	if err == nil {
		_, err = column(pl.GetResults())
	}
	if err == nil {
		var v any
		v, err = pl.GetResults()
		sd, _ = v.(*pgconn.StatementDescription)
	}
	if closing := pl.Close(); err == nil { // reads the Sync
		err = closing
	}
	if sd == nil || err != nil {
		return nil, cmp.Or(err, errNotPrepared)
	}
	sd.Name, sd.SQL = name, sql
	return sd, nil
}

var errNotPrepared = errors.New("lmipool: no answer to Parse")

// generic has EXPLAIN EXECUTE show the plan for all arguments: not those parts are left
// out of it that need not run for some, nor partitions. It is transaction-local.
const generic = `select pg_catalog.set_config('plan_cache_mode', 'force_generic_plan', true),` +
	` pg_catalog.set_config('enable_partition_pruning', 'off', true)`

// explain returns the plan of the prepared statement sd, and the texts of what it reads
// through. No arguments have a say: those of one run would hide what others run. Planning
// runs what is not volatile, so it is guarded like the statement itself on a lane.
func (c *conn) explain(ctx context.Context, sd *pgconn.StatementDescription, with *settings) (plan, texts []string, err error) {
	if sd.Name == "" {
		return c.explainText(ctx, sd.SQL, with)
	}
	sql := "explain (verbose, costs off) execute " + sd.Name
	if n := len(sd.ParamOIDs); n > 0 {
		sql += "(null" + strings.Repeat(", null", n-1) + ")"
	}
	pl := c.pg.PgConn().StartPipeline(ctx)
	parts := []*[]string{new([]string), new([]string), &plan, &texts}
	if with != nil {
		pl.SendQueryParams(with.sql(), with.params, nil, nil, nil)
		parts = slices.Insert(parts, 0, new([]string))
	}
	pl.SendQueryParams(newGuard(c.session).look, nil, nil, nil, nil)
	pl.SendQueryParams(generic, nil, nil, nil, nil)
	pl.SendQueryParams(sql, nil, nil, nil, nil)
	pl.SendQueryParams(hidden, [][]byte{textArray(sqltext.Names(sd.SQL))}, []uint32{pgtype.TextArrayOID}, nil, nil)
	err = pl.Sync()
	for _, rows := range parts {
		if err == nil {
			*rows, err = column(pl.GetResults())
		}
	}
	if closing := pl.Close(); err == nil { // reads the Sync
		err = closing
	}
	return plan, texts, err
}

// explainText is explain behind a pooler, by the statement's text, which was Parsed before:
// so it is one. A simple Query, since of all protocols that alone has parameters without
// values: with values the plan would be one for these.
func (c *conn) explainText(ctx context.Context, sql string, with *settings) (plan, texts []string, err error) {
	pc := c.pg.PgConn()
	set := ""
	if with != nil {
		set = with.literal() + "; "
	}
	results, err := pc.Exec(ctx, set+newGuard(c.session).look+"; "+generic+"; explain (verbose, costs off, generic_plan) "+sql).ReadAll()
	if err != nil {
		return nil, nil, err
	}
	r := pc.ExecParams(ctx, hidden, [][]byte{textArray(sqltext.Names(sql))}, []uint32{pgtype.TextArrayOID}, nil, nil).Read()
	for _, row := range results[len(results)-1].Rows {
		plan = append(plan, string(row[0]))
	}
	for _, row := range r.Rows {
		texts = append(texts, string(row[0]))
	}
	return plan, texts, r.Err
}

// column is the first column of a result, in text format.
func column(v any, err error) (values []string, _ error) {
	rr, ok := v.(*pgconn.ResultReader)
	if !ok {
		return nil, err
	}
	for rr.NextRow() {
		values = append(values, string(rr.Values()[0]))
	}
	_, err = rr.Close()
	return values, err
}

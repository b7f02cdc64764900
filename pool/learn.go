package pool

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/lmipool/lmipool/internal/sqltext"
)

// learnTimeout bounds the look at a statement, while its connection is out.
const learnTimeout = 2 * time.Second

// shadows finds functions that may be meant by an unqualified name and are not
// PostgreSQL's own. What an extension adds is an overload for its types; it is
// taken for harmless if it says that it is not volatile. Nothing in it is looked up
// by search_path.
const shadows = `select p.proname from pg_catalog.pg_proc p
where p.proname operator(pg_catalog.=) any ($1::pg_catalog.text[]::pg_catalog.name[])
and p.pronamespace operator(pg_catalog.<>) 'pg_catalog'::pg_catalog.regnamespace
and pg_catalog.pg_function_is_visible(p.oid)
and (p.provolatile operator(pg_catalog.=) 'v' or not exists (select from pg_catalog.pg_depend d
	where d.classid operator(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
	and d.objid operator(pg_catalog.=) p.oid and d.deptype operator(pg_catalog.=) 'e'))
limit 1`

// leased is called with the end of a lease whose statement went alone while others
// waited. It notes how long the statement took, and says whether it is to be
// looked at on the same connection, which is in nobody's way now.
func (n *lanes) leased(l *Lease) bool {
	if l.st == nil || l.took <= 0 {
		return false
	}
	n.catalog.observe(l.st, l.took-l.p.adm.leastRoundTrip(), -1)
	return l.c.lane != nil && l.c.clean() && n.catalog.learn(l.st)
}

// learn looks at l's statement on the connection that has just run it: what it
// takes and returns, and by its plan what it calls.
func (c *conn) learn(l *Lease) {
	g := c.p.lanes.catalog
	var d *description
	why := ""
	defer func() { g.learned(l.st, d, why) }() // also when a hook of pgx's panics
	ctx, cancel := context.WithTimeout(context.Background(), learnTimeout)
	defer cancel()
	d, why = c.look(ctx, l.st)
	if s, ok := c.lane.prepared[l.st]; ok && d == nil {
		c.lane.forget(s)
	}
	if len(c.lane.surplus) >= maxSurplus {
		c.dropSurplus(ctx)
	}
}

// maxSurplus is how many prepared statements a connection has too many before they are
// dropped without a flight: where texts are many, there may be none.
const maxSurplus = 32

// dropSurplus drops, on the server, what the lane has no use for any more.
func (c *conn) dropSurplus(ctx context.Context) {
	pl := c.pg.PgConn().StartPipeline(ctx)
	for _, name := range c.lane.surplus {
		pl.SendDeallocate(name)
	}
	_ = pl.Sync()
	if pl.Close() == nil { // reads the answers
		c.lane.surplus = c.lane.surplus[:0]
	}
}

// look returns the description of a statement that may ride, or why it may not,
// or neither if that could not be found out.
func (c *conn) look(ctx context.Context, st *statement) (*description, string) {
	pc := c.pg.PgConn()
	if pc.ParameterStatus("standard_conforming_strings") != "on" || pc.ParameterStatus("client_encoding") != "UTF8" {
		return nil, aloneText // the scanner would read other strings than the server
	}
	for _, f := range st.functions {
		if !c.p.lanes.allows(f) && !builtIn(f) {
			return nil, aloneCalls
		}
	}
	s := c.lane.find(st, nil)
	if s.sent { // from before it was forgotten
		c.lane.forget(s)
		s = c.lane.find(st, nil)
	}
	sd, err := pc.Prepare(ctx, s.name, st.sql, nil)
	if err != nil {
		c.lane.forget(s)
		return nil, ""
	}
	s.sent = true
	d := c.p.lanes.describe(c.pg, sd)
	s.sd, s.desc = sd, d
	if len(sd.Fields) == 0 {
		return nil, aloneText
	}
	for _, oid := range sd.ParamOIDs {
		if _, ok := c.pg.TypeMap().TypeForOID(oid); !ok {
			return nil, aloneArgs // how to encode it depends on what a copied Map has lost
		}
	}
	plan, err := c.explain(ctx, sd)
	var pg *pgconn.PgError
	switch {
	case err == nil:
	case pc.IsClosed() || ctx.Err() != nil || !errors.As(err, &pg):
		return nil, ""
	case pg.Code == "55P03" || pg.Code == "0A000" || pg.Code == "26000": // locked, or altered just now
		return nil, ""
	default:
		return nil, aloneCalls
	}
	scan := sqltext.ScanPlan(plan)
	if scan.Refused != "" {
		return nil, aloneCalls
	}
	var ours []string // PostgreSQL's own, if nobody has put something in front
	for _, f := range append(scan.Functions, st.functions...) {
		switch {
		case c.p.lanes.allows(f):
		case !builtIn(f):
			return nil, aloneCalls
		case f.Schema == "":
			ours = append(ours, f.Name)
		}
	}
	if len(ours) > 0 {
		r := pc.ExecParams(ctx, shadows, [][]byte{textArray(ours)}, []uint32{pgtype.TextArrayOID}, nil, nil).Read()
		if r.Err != nil {
			return nil, ""
		}
		if len(r.Rows) > 0 {
			return nil, aloneCalls
		}
	}
	return d, ""
}

// generic has EXPLAIN EXECUTE show the plan for all arguments: not those parts are left
// out of it that need not run for some, nor partitions. It is transaction-local.
const generic = `select pg_catalog.set_config('plan_cache_mode', 'force_generic_plan', true),` +
	` pg_catalog.set_config('enable_partition_pruning', 'off', true)`

// explain returns the plan of the prepared statement sd. No arguments have a say: those of
// one run would hide what others run. Planning runs what is not volatile, so it is
// guarded like the statement itself on a lane.
func (c *conn) explain(ctx context.Context, sd *pgconn.StatementDescription) ([]string, error) {
	sql := "explain (verbose, costs off) execute " + sd.Name
	if n := len(sd.ParamOIDs); n > 0 {
		sql += "(null" + strings.Repeat(", null", n-1) + ")"
	}
	pl := c.pg.PgConn().StartPipeline(ctx)
	pl.SendQueryParams(c.lane.guard.local, nil, nil, nil, nil)
	pl.SendQueryParams(generic, nil, nil, nil, nil)
	pl.SendQueryParams(sql, nil, nil, nil, nil)
	err := pl.Sync()
	var lines []string
	for err == nil {
		var v any
		v, err = pl.GetResults()
		if rr, ok := v.(*pgconn.ResultReader); ok {
			for rr.NextRow() {
				if row := rr.Values(); len(row) == 1 { // the settings' have more
					lines = append(lines, string(row[0]))
				}
			}
			_, err = rr.Close()
		}
		if _, ok := v.(*pgconn.PipelineSync); ok || v == nil {
			break
		}
	}
	if closing := pl.Close(); err == nil {
		err = closing
	}
	return lines, err
}

// builtIn reports whether f, if it is PostgreSQL's own, does nothing but return.
func builtIn(f sqltext.Function) bool {
	return (f.Schema == "" || f.Schema == "pg_catalog") && sqltext.Harmless(f.Name)
}

// textArray is names as text[] in text format.
func textArray(names []string) []byte {
	var b strings.Builder
	b.WriteByte('{')
	for i, n := range names {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(n) + `"`)
	}
	b.WriteByte('}')
	return []byte(b.String())
}

// sameTypes reports whether m has the Go types that d was made with.
func sameTypes(m *pgtype.Map, d *description) bool {
	for _, of := range d.types {
		t, ok := m.TypeForOID(of.oid)
		if !ok || t != of.Type && (t.Name != of.Name || reflect.TypeOf(t.Codec) != reflect.TypeOf(of.Codec)) {
			return false
		}
	}
	return true
}

package pool

import (
	"cmp"
	"context"
	"errors"
	"reflect"
	"slices"
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
// waited. It notes how long the statement took, and has it looked at if it is new.
func (n *lanes) leased(l *Lease) {
	if l.st == nil || l.took <= 0 {
		return
	}
	n.catalog.observe(l.st, l.took-l.p.adm.leastRoundTrip(), -1)
	if l.c.lane != nil && n.catalog.isUnknown(l.st) && !slices.Contains(l.residue.unsure, doubt{l.st, l.with}) {
		l.residue.unsure = append(l.residue.unsure, doubt{l.st, l.with})
	}
}

// learn looks at st on a connection that is nobody's just now and whose session is
// clean: may it ride, and does it leave anything behind? A look may leave something
// itself: to plan means to run functions that say that they are not volatile, and which
// ones only a look tells.
func (c *conn) learn(d doubt) (soiled bool) {
	st := d.st
	var f finding
	defer func() { c.p.lanes.catalog.learned(st, f) }() // also when a hook of pgx's panics
	ctx, cancel := context.WithTimeout(context.Background(), learnTimeout)
	defer cancel()
	f = c.look(ctx, st, d.with)
	soiled = !f.traced || f.trace == sqltext.AnyTrace
	if c.lane == nil {
		return soiled
	}
	if s, ok := c.lane.prepared[st]; ok && f.desc == nil {
		c.lane.forget(s)
	}
	if len(c.lane.surplus) >= maxSurplus {
		c.dropSurplus(ctx)
	}
	return soiled
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

// look finds out about st, which ran with settings, what its text does not say.
func (c *conn) look(ctx context.Context, st *statement, with *settings) (f finding) {
	pc := c.pg.PgConn()
	if pc.ParameterStatus("standard_conforming_strings") != "on" || pc.ParameterStatus("client_encoding") != "UTF8" {
		// the scanner would read other strings than the server
		return finding{why: aloneText, trace: sqltext.AnyTrace, traced: true}
	}
	rides := c.lane != nil && c.p.lanes.catalog.isUnknown(st)
	if rides && !c.p.lanes.harmless(st.functions) {
		f.why, rides = aloneCalls, false
	}
	var pg *pgconn.PgError
	sd, drop, err := c.prepareFor(ctx, st, rides)
	if err != nil {
		f.failed = errors.As(err, &pg) && !passes(pg.Code)
		return f
	}
	defer drop()
	if rides {
		f.desc, f.why = c.describeRide(st, sd)
	}
	plan, texts, err := c.explain(ctx, sd, with)
	if err != nil {
		f.desc = nil
		if errors.As(err, &pg) && strings.HasPrefix(pg.Code, "22") { // select 1/0: it fails when it is run, too
			f.failed = true
			return f
		}
		if errors.As(err, &pg) && !pc.IsClosed() && ctx.Err() == nil && !passes(pg.Code) && with == nil { // with others it may pass
			f.why, f.trace, f.traced = cmp.Or(f.why, aloneCalls), sqltext.AnyTrace, true
		}
		return f
	}
	reads := sqltext.ScanPlan(plan)
	scan, written := sqltext.ScanWrite(plan)
	functions := append(slices.Clip(st.functions), scan.Functions...)
	for _, text := range texts {
		hidden := sqltext.Scan(text)
		reads.Refused, scan.Refused = cmp.Or(reads.Refused, hidden.Refused), cmp.Or(scan.Refused, hidden.Refused)
		functions = append(functions, hidden.Functions...)
	}
	shadowed, err := c.shadowed(ctx, functions)
	if err != nil {
		return finding{}
	}
	if shadowed || reads.Refused != "" || !c.p.lanes.harmless(functions) {
		f.desc, f.why = nil, cmp.Or(f.why, aloneCalls)
	}
	f.trace, f.traced = sqltext.AnyTrace, true
	if shadowed || scan.Refused != "" {
		return f
	}
	more, known := c.writesMore(ctx, st.sql, written)
	if !known {
		return f
	}
	f.trace = sqltext.NoTrace
	for _, fn := range append(functions, more...) {
		if !c.p.lanes.allows(fn) {
			f.trace = max(f.trace, fn.Trace())
		}
	}
	return f
}

// passes reports whether a look that failed with code may tell more another time: something
// was locked, the machine was busy, or the statement's table altered just now.
func passes(code string) bool {
	return slices.Contains([]string{"55P03", "57014", "0A000", "26000"}, code)
}

// prepareFor prepares st: under the name that a lane will use if it may ride, else for the
// look only, and then drop drops it.
func (c *conn) prepareFor(ctx context.Context, st *statement, rides bool) (sd *pgconn.StatementDescription, drop func(), err error) {
	if c.p.cfg.Upstream.shares() { // nothing that is prepared here is there at the next step
		sd, err = c.prepare(ctx, "", st.sql)
		return sd, func() {}, err
	}
	if !rides {
		const name = "lmipool_look"
		sd, err = c.prepare(ctx, name, st.sql)
		return sd, func() { _ = c.pg.PgConn().Deallocate(ctx, name) }, err
	}
	s := c.lane.find(st, nil)
	if s.sent { // from before it was forgotten
		c.lane.forget(s)
		s = c.lane.find(st, nil)
	}
	if sd, err = c.prepare(ctx, s.name, st.sql); err != nil {
		c.lane.forget(s)
		return nil, nil, err
	}
	s.sent, s.sd = true, sd
	return sd, func() {}, nil
}

// describeRide describes st for lanes, unless it goes alone because of why.
func (c *conn) describeRide(st *statement, sd *pgconn.StatementDescription) (d *description, why string) {
	if len(sd.Fields) == 0 {
		return nil, aloneText
	}
	for _, oid := range sd.ParamOIDs {
		if _, ok := c.pg.TypeMap().TypeForOID(oid); !ok {
			return nil, aloneArgs // how to encode it depends on what a copied Map has lost
		}
	}
	d = c.p.lanes.describe(c.pg, sd)
	if s, ok := c.lane.prepared[st]; ok {
		s.desc = d
	}
	return d, ""
}

// shadowed reports whether somebody has put a function of his own in front of one that is
// named without schema and taken for PostgreSQL's.
func (c *conn) shadowed(ctx context.Context, functions []sqltext.Function) (bool, error) {
	var ours []string
	for _, f := range functions {
		if f.Schema == "" && !c.p.lanes.allows(f) && f.Trace() < sqltext.AnyTrace {
			ours = append(ours, f.Name)
		}
	}
	if len(ours) == 0 {
		return false, nil
	}
	r := c.pg.PgConn().ExecParams(ctx, shadows, [][]byte{textArray(ours)}, []uint32{pgtype.TextArrayOID}, nil, nil).Read()
	return len(r.Rows) > 0, r.Err
}

// more finds out what writing to some tables runs that no plan shows: a row with ” stands
// for triggers, and functions of the user's own in constraints, columns, indexes, policies
// and the keys of partitions; the others are the expressions, whose functions of
// PostgreSQL's own are in no pg_depend. Partitions and tables that foreign keys lead to
// are looked at, too. $2: a DEFAULT may stand where no plan shows it, in ON CONFLICT or MERGE.
const more = `with recursive hit(oid) as (
	select pg_catalog.to_regclass(n)::pg_catalog.oid from unnest($1::pg_catalog.text[]) n
	union select x.oid from hit h cross join lateral (
		select c.conrelid from pg_catalog.pg_constraint c where c.confrelid operator(pg_catalog.=) h.oid and c.contype operator(pg_catalog.=) 'f'
			and (c.confdeltype operator(pg_catalog.=) any ('{c,n,d}') or c.confupdtype operator(pg_catalog.=) any ('{c,n,d}'))
		union all select i.inhrelid from pg_catalog.pg_inherits i where i.inhparent operator(pg_catalog.=) h.oid) x(oid)),
said(expression) as (
	select pg_catalog.pg_get_expr(c.conbin, c.conrelid) from pg_catalog.pg_constraint c, hit h where c.conrelid operator(pg_catalog.=) h.oid
	union select pg_catalog.pg_get_expr(e, p.polrelid) from pg_catalog.pg_policy p cross join lateral (values (p.polqual), (p.polwithcheck)) _(e), hit h
		where p.polrelid operator(pg_catalog.=) h.oid
	union select pg_catalog.pg_get_expr(a.adbin, a.adrelid) from pg_catalog.pg_attrdef a, hit h where a.adrelid operator(pg_catalog.=) h.oid
		and ($2 or exists(select from pg_catalog.pg_constraint c where c.conrelid operator(pg_catalog.=) h.oid and c.contype operator(pg_catalog.=) 'f'
			and (c.confdeltype operator(pg_catalog.=) 'd' or c.confupdtype operator(pg_catalog.=) 'd')))
	union select 'nextval(null)' from pg_catalog.pg_attribute a, hit h where $2 and a.attrelid operator(pg_catalog.=) h.oid and a.attidentity operator(pg_catalog.<>) '')
select 'select ' operator(pg_catalog.||) expression from said where expression is not null
union all select '' where exists(select from hit where oid is null)
or exists(select from pg_catalog.pg_trigger t, hit h where t.tgrelid operator(pg_catalog.=) h.oid and not t.tgisinternal)
or exists(select from pg_catalog.pg_depend d where d.refclassid operator(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
	and (d.classid, d.objid) operator(pg_catalog.=) any (
		select 'pg_catalog.pg_constraint'::pg_catalog.regclass::pg_catalog.oid, c.oid from pg_catalog.pg_constraint c, hit h where c.conrelid operator(pg_catalog.=) h.oid
		union all select 'pg_catalog.pg_attrdef'::pg_catalog.regclass, a.oid from pg_catalog.pg_attrdef a, hit h where a.adrelid operator(pg_catalog.=) h.oid
		union all select 'pg_catalog.pg_class'::pg_catalog.regclass, h.oid from hit h
		union all select 'pg_catalog.pg_class'::pg_catalog.regclass, i.indexrelid from pg_catalog.pg_index i, hit h where i.indrelid operator(pg_catalog.=) h.oid
		union all select 'pg_catalog.pg_policy'::pg_catalog.regclass, p.oid from pg_catalog.pg_policy p, hit h where p.polrelid operator(pg_catalog.=) h.oid))`

// writesMore returns the functions that writing to tables calls beyond those in the plan;
// false if they are not known.
func (c *conn) writesMore(ctx context.Context, sql string, tables []string) (functions []sqltext.Function, known bool) {
	if len(tables) == 0 {
		return nil, true
	}
	defaults := "f"
	if names := sqltext.Names(sql); slices.Contains(names, "default") || slices.Contains(names, "merge") {
		defaults = "t"
	}
	r := c.pg.PgConn().ExecParams(ctx, more, [][]byte{textArray(tables), []byte(defaults)}, []uint32{pgtype.TextArrayOID, pgtype.BoolOID}, nil, nil).Read()
	for _, row := range r.Rows {
		scan := sqltext.Scan(string(row[0])) // "" is refused
		if scan.Refused != "" {
			return nil, false
		}
		functions = append(functions, scan.Functions...)
	}
	return functions, r.Err == nil
}

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

// harmless reports whether all of functions have no effect but their result: PostgreSQL's
// own that are known for that, if nobody has put others in front, and the user's word.
func (n *lanes) harmless(functions []sqltext.Function) bool {
	for _, f := range functions {
		if !n.allows(f) && !f.Harmless() {
			return false
		}
	}
	return true
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

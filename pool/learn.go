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
	if l.took <= 0 {
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
	if !c.own() { // nothing that is prepared here is there at the next step
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

package pool

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/lmipool/lmipool/internal/sqltext"
)

// leased is called with the end of a lease whose statement went alone while others
// waited. It notes how long the statement took, and has it looked at if it is new.
func (n *lanes) leased(l *Lease) {
	if l.took <= 0 {
		return
	}
	n.catalog.observe(l.st, l.took-l.p.adm.leastRoundTrip(), -1)
	if l.c.lane != nil && n.catalog.wants(l.st) && !slices.Contains(l.residue.unsure, doubt{l.st, l.with}) {
		l.residue.unsure = append(l.residue.unsure, doubt{l.st, l.with})
	}
}

// learn finds out what is not known yet of a statement, on a connection that is nobody's just now and whose session is
// clean: what it mentions and, if it may ride, its description.
func (c *conn) learn(d doubt) {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	st, g := d.st, c.p.lanes.catalog
	if c.base == nil || st.mentions == nil || !c.know(ctx, st.mentions, nil) {
		return
	}
	if c.lane == nil || c.p.lanes.baselines.newest.Load() != c.base || !g.describe(st) {
		return
	}
	var desc *description
	why := ""
	defer func() { g.described(st, desc, why) }() // also when a hook of pgx's panics
	sd, err := c.prepareFor(ctx, st)
	if err == nil {
		if desc, why = c.describeRide(st, sd); desc != nil && !c.know(ctx, st.mentions, desc.user) {
			desc = nil
		}
	}
	if s, ok := c.lane.prepared[st]; ok && desc == nil {
		c.lane.forget(s)
	}
	if len(c.lane.surplus) >= maxSurplus {
		c.dropSurplus(ctx)
	}
}

// maxAsked is from how many names on nothing is added to a question.
const maxAsked = 200

// know asks the server what is not known of what m mentions, and of types.
func (c *conn) know(ctx context.Context, m *sqltext.Mentions, types []uint32) bool {
	pc := c.pg.PgConn()
	if pc.ParameterStatus("standard_conforming_strings") != "on" || pc.ParameterStatus("client_encoding") != "UTF8" {
		return false // the scanner would read other strings than the server
	}
	if time.Now().UnixNano() < c.base.restTill.Load() {
		return false
	}
	for range 2 { // the second time for the types of functions that the first has found
		w := wanted{}
		if w.add(c.base.missing(m, types)); w.isEmpty() {
			break
		}
		for _, other := range c.p.lanes.catalog.unproven() { // to ask about many costs little more than about one
			if len(w.names) < maxAsked {
				w.add(c.base.missing(other, nil))
			}
		}
		sent := time.Now()
		k, err := c.findOut(ctx, w)
		if err != nil {
			c.base.restTill.Store(time.Now().Add(restAfterFault).UnixNano())
			c.p.log.Warn("lmipool: the catalogs could not be asked what statements may run; meanwhile they go alone", "error", err)
			return false
		}
		c.base.learn(k, false)
		c.base.signedAt.CompareAndSwap(0, sent.UnixNano())
	}
	return true
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

// prepareFor prepares st under the name that its lane will use.
func (c *conn) prepareFor(ctx context.Context, st *statement) (sd *pgconn.StatementDescription, err error) {
	if c.lane.unnamed { // nothing that is prepared here is there at the next step
		return c.prepare(ctx, "", st.sql)
	}
	s := c.lane.find(st, nil)
	if s.sent { // from before it was forgotten
		c.lane.forget(s)
		s = c.lane.find(st, nil)
	}
	if sd, err = c.prepare(ctx, s.name, st.sql); err != nil {
		c.lane.forget(s)
		return nil, err
	}
	s.sent, s.sd = true, sd
	return sd, nil
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

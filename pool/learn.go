package pool

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

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
	sd, err := c.prepare(ctx, "", st.sql)
	if err == nil {
		if desc, why = c.describeRide(sd); desc != nil && !c.know(ctx, st.mentions, desc.user) {
			desc = nil
		}
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
	for range maxBodies { // again for what the last answers have named: types, the bodies of functions
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
			if c.base.rest(err) {
				c.p.log.Warn("lmipool: the catalogs could not be asked what statements may run; meanwhile they go alone", "error", err)
			}
			return false
		}
		c.base.learn(k, 0)
		c.base.signedAt.CompareAndSwap(0, sent.UnixNano())
	}
	return true
}

// describeRide makes a description for lanes, unless it goes alone because of why.
func (c *conn) describeRide(sd *pgconn.StatementDescription) (d *description, why string) {
	if len(sd.Fields) == 0 {
		return nil, aloneText
	}
	if d = c.describe(sd); !d.encodable() {
		return nil, aloneArgs
	}
	return d, ""
}

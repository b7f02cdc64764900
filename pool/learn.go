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

// learnTimeout bounds what is asked about one statement, while its connection is out.
const learnTimeout = 5 * time.Second

// learn finds out what is not known yet of a statement, on a connection that is nobody's just now and whose session is
// clean: what it mentions and, if it may ride, its description.
func (c *conn) learn(d doubt) {
	ctx, cancel := context.WithTimeout(context.Background(), learnTimeout)
	defer cancel()
	st, g := d.st, c.p.lanes.catalog
	if c.base == nil || st.mentions == nil || !c.know(ctx, st.mentions, nil) {
		return
	}
	if c.lane == nil || c.p.lanes.baselines.Newest() != c.base || !g.describe(st) {
		return
	}
	var desc *description
	why := ""
	defer func() { g.described(st, desc, why) }() // also when a hook of pgx's panics
	sd, err := c.asker().Describe(ctx, st.sql)
	if err == nil {
		if desc, why = c.describeRide(sd); desc != nil && !c.know(ctx, st.mentions, desc.user) {
			desc = nil
		}
	}
}

// know asks the server what is not known of what m mentions, and of types.
func (c *conn) know(ctx context.Context, m *sqltext.Mentions, types []uint32) bool {
	pc := c.pg.PgConn()
	if pc.ParameterStatus("standard_conforming_strings") != "on" || pc.ParameterStatus("client_encoding") != "UTF8" {
		return false // the scanner would read other strings than the server
	}
	known, err := c.base.Know(ctx, c.asker().Answers, m, types, c.p.lanes.catalog.unproven)
	if err != nil {
		c.p.log.Warn("lmipool: the catalogs could not be asked what statements may run; meanwhile they go alone", "error", err)
	}
	return known
}

// check asks whether what is known still holds, if that is due. It reports whether it has held until now.
func (c *conn) check(ctx context.Context) (held bool) {
	return c.base == nil || c.base.Check(ctx, c.asker().Answers)
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

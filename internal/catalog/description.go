package catalog

import (
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// Description is a statement's parameters and columns as the server described them to one connection, with the Go side of their types.
type Description struct {
	*pgconn.StatementDescription
	shown []pgconn.FieldDescription                 // the statement's columns, in the formats that pgx asks for by itself
	other atomic.Pointer[[]pgconn.FieldDescription] // the columns in the formats that a call asked for last, if these are others
	set   *memrows.Set                              // the connection's types
	user  []uint32                                  // the OIDs of the statement's types that are not built-in
}

// Describe returns the Description of a statement. d is the server's description for a connection, and set has the types of that connection.
func Describe(d *pgconn.StatementDescription, set *memrows.Set) *Description {
	desc := &Description{StatementDescription: d, set: set, shown: slices.Clone(d.Fields)}
	oids := slices.Clone(d.ParamOIDs)
	for i := range desc.shown {
		shown := &desc.shown[i]
		oids = append(oids, shown.DataTypeOID)
		shown.Format = set.FormatOf(shown.DataTypeOID)
	}
	desc.user = slices.DeleteFunc(oids, func(oid uint32) bool { return oid < facts.FirstUserOID })
	return desc
}

// Encode encodes args into eqb, and reports whether that was possible. It returns the columns in formats, or in pgx's own if formats is nil.
func (d *Description) Encode(eqb *pgx.ExtendedQueryBuilder, args []any, formats pgx.QueryResultFormatsByOID) (shown []pgconn.FieldDescription, ok bool) {
	if d.set.Encode(eqb, d.StatementDescription, args) != nil {
		return nil, false
	}
	if formats == nil {
		return d.shown, true
	}
	same := true
	for i := range d.shown {
		eqb.ResultFormats[i] = formats[d.shown[i].DataTypeOID]
		same = same && eqb.ResultFormats[i] == d.shown[i].Format
	}
	if same {
		return d.shown, true
	}
	return d.in(eqb.ResultFormats), true
}

// in returns the columns in formats. Calls that ask for the same formats as the one before get the same slice, so that only the first has to make it.
func (d *Description) in(formats []int16) []pgconn.FieldDescription {
	other := d.other.Load()
	if other == nil || !slices.EqualFunc(*other, formats, func(f pgconn.FieldDescription, format int16) bool { return f.Format == format }) {
		made := slices.Clone(d.shown)
		for i := range made {
			made[i].Format = formats[i]
		}
		other = &made
		d.other.Store(other)
	}
	return *other
}

// Alike compares the Go types of d with those that s has for the same OIDs.
func (d *Description) Alike(s *memrows.Set, p *memrows.Pairs) memrows.Sameness {
	if d.set == s {
		return memrows.Equal
	}
	all := memrows.Equal
	for _, oid := range d.ParamOIDs {
		all = min(all, p.Compare(d.set, s, oid))
	}
	for i := range d.Fields {
		all = min(all, p.Compare(d.set, s, d.Fields[i].DataTypeOID))
	}
	return all
}

// IsLike reports whether own, the server's description for another connection, has the same parameters and columns as d.
func (d *Description) IsLike(own *pgconn.StatementDescription) bool {
	return slices.Equal(own.ParamOIDs, d.ParamOIDs) && slices.Equal(own.Fields, d.Fields)
}

// Key is a text, and the names of the settings of pool.Pool.With with which the text runs. The names are part of the key because a row security policy
// that reads a setting cannot be planned without it.
type Key struct{ SQL, Settings string }

// Name returns the name under which a connection prepares the statement of d. baseline is the Meaning of the connection's session.Baseline.
func (d *Description) Name(of Key, baseline string) string {
	return sqltext.StatementName("lane", of.SQL, baseline, of.Settings, fmt.Sprintf("%v %#v", d.ParamOIDs, d.Fields))
}

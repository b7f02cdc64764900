package pool

import (
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/memrows"
)

// description is a statement's parameters and columns as one connection had them
// described, with the Go side of their types. It never changes: when the
// statement means something else, it gets another one.
type description struct {
	*pgconn.StatementDescription
	shown   []pgconn.FieldDescription // its columns in the formats that are asked for
	formats []int16                   // the same, of each column
	set     *memrows.Set              // the connection's
	user    []uint32                  // those of its types that are not built-in
}

func (d *description) userTypes() []uint32 {
	if d == nil {
		return nil
	}
	return d.user
}

// describe makes a description of what c had described. Its owner calls it.
func (c *conn) describe(d *pgconn.StatementDescription) *description {
	desc := &description{StatementDescription: d, set: c.types.Of(c.pg), shown: slices.Clone(d.Fields), user: unknownTypes(d.ParamOIDs)}
	desc.formats = make([]int16, len(desc.shown))
	for i := range desc.shown {
		oid := desc.shown[i].DataTypeOID
		desc.user = append(desc.user, unknownTypes([]uint32{oid})...)
		desc.formats[i] = desc.set.FormatOf(oid)
		desc.shown[i].Format = desc.formats[i]
	}
	return desc
}

// encode encodes args, if they can be.
func (d *description) encode(eqb *pgx.ExtendedQueryBuilder, args []any) bool {
	return d.set.Encode(eqb, d.StatementDescription, args) == nil
}

// encodable reports whether all that d takes is of types that are known: how to encode
// another depends on the value.
func (d *description) encodable() bool {
	for _, oid := range d.ParamOIDs {
		if !d.set.Knows(oid) {
			return false
		}
	}
	return true
}

// takesTheSame reports whether arguments that are encoded for d are what other takes.
func (d *description) takesTheSame(other *description, p *memrows.Pairs) bool {
	if !slices.Equal(d.ParamOIDs, other.ParamOIDs) {
		return false
	}
	for _, oid := range d.ParamOIDs {
		if !d.set.Knows(oid) || p.Compare(d.set, other.set, oid) != memrows.Equal {
			return false
		}
	}
	return true
}

// alike says how alike d's Go types are to those of the same OIDs in s.
func (d *description) alike(s *memrows.Set, p *memrows.Pairs) memrows.Sameness {
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

// sameShape reports whether a connection's own description is what arguments were
// encoded for and rows will be decoded with.
func sameShape(own *pgconn.StatementDescription, d *description) bool {
	return slices.Equal(own.ParamOIDs, d.ParamOIDs) && slices.Equal(own.Fields, d.Fields)
}

// unknownTypes are those of oids that are not built-in.
func unknownTypes(oids []uint32) (types []uint32) {
	for _, o := range oids {
		if o >= firstUserOID {
			types = append(types, o)
		}
	}
	return types
}

// firstUserOID is the first OID of what is not built-in.
const firstUserOID = 16384

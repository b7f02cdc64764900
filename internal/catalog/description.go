package catalog

import (
	"encoding/binary"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// Description is a statement's parameters and columns as one connection had them
// described, with the Go side of their types. It never changes: when the
// statement means something else, it gets another one.
type Description struct {
	*pgconn.StatementDescription
	Shown   []pgconn.FieldDescription // its columns in the formats that are asked for
	Formats []int16                   // the same, of each column
	set     *memrows.Set              // the connection's
	user    []uint32                  // those of its types that are not built-in
}

func (d *Description) userTypes() []uint32 {
	if d == nil {
		return nil
	}
	return d.user
}

// Describe returns the description of a statement as the server gave it to a connection. set has the types of that connection.
func Describe(d *pgconn.StatementDescription, set *memrows.Set) *Description {
	desc := &Description{StatementDescription: d, set: set, Shown: slices.Clone(d.Fields), user: unknownTypes(d.ParamOIDs)}
	desc.Formats = make([]int16, len(desc.Shown))
	for i := range desc.Shown {
		oid := desc.Shown[i].DataTypeOID
		desc.user = append(desc.user, unknownTypes([]uint32{oid})...)
		desc.Formats[i] = set.FormatOf(oid)
		desc.Shown[i].Format = desc.Formats[i]
	}
	return desc
}

// Unfit says why what is described like that goes alone: "" if it may ride. How to encode what is of a type that is not known
// depends on the value.
func (d *Description) Unfit() string {
	if len(d.Fields) == 0 {
		return AloneText
	}
	for _, oid := range d.ParamOIDs {
		if !d.set.Knows(oid) {
			return AloneArgs
		}
	}
	return ""
}

// Encode encodes args, if they can be.
func (d *Description) Encode(eqb *pgx.ExtendedQueryBuilder, args []any) bool {
	return d.set.Encode(eqb, d.StatementDescription, args) == nil
}

// TakesTheSame reports whether arguments that are encoded for d are what other takes.
func (d *Description) TakesTheSame(other *Description, p *memrows.Pairs) bool {
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

// Alike says how alike d's Go types are to those of the same OIDs in s.
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

// IsLike reports whether a connection's own description is what arguments were
// encoded for and rows will be decoded with.
func (d *Description) IsLike(own *pgconn.StatementDescription) bool {
	return slices.Equal(own.ParamOIDs, d.ParamOIDs) && slices.Equal(own.Fields, d.Fields)
}

// Name is the name under which a connection of this baseline prepares what d is of.
func (d *Description) Name(of Key, baseline string) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(len(d.ParamOIDs)))
	for _, oid := range d.ParamOIDs {
		b = binary.BigEndian.AppendUint32(b, oid)
	}
	for _, f := range d.Fields {
		b = binary.BigEndian.AppendUint32(b, f.DataTypeOID)
		b = binary.BigEndian.AppendUint32(b, uint32(f.TypeModifier))
		b = binary.BigEndian.AppendUint32(b, f.TableOID)
		b = binary.BigEndian.AppendUint16(b, f.TableAttributeNumber)
		b = append(binary.BigEndian.AppendUint64(b, uint64(len(f.Name))), f.Name...)
	}
	return sqltext.StatementName("lane", of.SQL, baseline, of.Settings, string(b))
}

// unknownTypes are those of oids that are not built-in.
func unknownTypes(oids []uint32) (types []uint32) {
	for _, o := range oids {
		if o >= facts.FirstUserOID {
			types = append(types, o)
		}
	}
	return types
}

package catalog

import (
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/memrows"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// Description is a statement's parameters and columns as one connection had them described, with the Go side of their types.
// It never changes: when the statement means something else, it gets another one.
type Description struct {
	*pgconn.StatementDescription
	Shown   []pgconn.FieldDescription // its columns in the formats that are asked for
	Formats []int16                   // the same, of each column
	set     *memrows.Set              // the connection's
	user    []uint32                  // those of its types that are not built-in
}

// Describe returns the description of a statement as the server gave it to a connection. set has the types of that connection.
func Describe(d *pgconn.StatementDescription, set *memrows.Set) *Description {
	desc := &Description{StatementDescription: d, set: set, Shown: slices.Clone(d.Fields), Formats: make([]int16, len(d.Fields))}
	note := func(oid uint32) {
		if oid >= facts.FirstUserOID {
			desc.user = append(desc.user, oid)
		}
	}
	for _, oid := range d.ParamOIDs {
		note(oid)
	}
	for i := range desc.Shown {
		shown := &desc.Shown[i]
		note(shown.DataTypeOID)
		shown.Format = set.FormatOf(shown.DataTypeOID)
		desc.Formats[i] = shown.Format
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

// IsLike reports whether a connection's own description is what arguments were encoded for and rows will be decoded with.
func (d *Description) IsLike(own *pgconn.StatementDescription) bool {
	return slices.Equal(own.ParamOIDs, d.ParamOIDs) && slices.Equal(own.Fields, d.Fields)
}

// Key is a text, and the names of the settings of pool.Pool.With that it runs with: a policy that asks for them has no plan without.
type Key struct{ SQL, Settings string }

// Name is the name under which a connection of this baseline prepares what d is of.
func (d *Description) Name(of Key, baseline string) string {
	return sqltext.StatementName("lane", of.SQL, baseline, of.Settings, fmt.Sprintf("%v %#v", d.ParamOIDs, d.Fields))
}

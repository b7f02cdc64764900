package memrows

import (
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// decode decodes one row as pgx's Rows.Values does.
func (t *mapCopy) decode(fields []pgconn.FieldDescription, raw [][]byte) ([]any, error) {
	values := make([]any, len(fields))
	for i, f := range fields {
		v := raw[i]
		typ, known := t.TypeForOID(f.DataTypeOID)
		switch {
		case v == nil:
		case known:
			d, err := typ.Codec.DecodeValue(t.Map, f.DataTypeOID, f.Format, v)
			if err != nil {
				return nil, err
			}
			values[i] = d
		case f.Format == pgx.TextFormatCode:
			values[i] = string(v)
		default:
			values[i] = slices.Clone(v)
		}
	}
	return values, nil
}

package stdlib

import (
	"database/sql/driver"
	"io"
	"math"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// Rows are the rows of a query. Their columns and values are those of pgx's stdlib.
type Rows struct {
	rows    pgx.Rows
	columns []column
	dest    []any // the columns as pgx scans into them; nil until the first row is read as values
	ahead   bool  // the first Next was called already
	more    bool  // and returned this
}

var (
	_ driver.RowsColumnTypeDatabaseTypeName = (*Rows)(nil)
	_ driver.RowsColumnTypeLength           = (*Rows)(nil)
	_ driver.RowsColumnTypePrecisionScale   = (*Rows)(nil)
	_ driver.RowsColumnTypeScanType         = (*Rows)(nil)
)

// newRows returns the Rows of a Query that has returned rows and err. It returns the statement's error if there is one before the first row.
func newRows(rows pgx.Rows, err error) (*Rows, error) {
	if err != nil {
		return nil, err
	}
	r := &Rows{rows: rows, ahead: true}
	if r.more = rows.Next(); !r.more {
		if err := rows.Err(); err != nil {
			rows.Close()
			return nil, err
		}
	}
	fields := rows.FieldDescriptions() // belongs to the connection, so what is needed of it is copied
	r.columns = make([]column, len(fields))
	for i := range fields {
		r.columns[i] = column{name: fields[i].Name, oid: fields[i].DataTypeOID, modifier: fields[i].TypeModifier}
	}
	return r, nil
}

// Columns returns the names of the columns.
func (r *Rows) Columns() []string {
	names := make([]string, len(r.columns))
	for i := range r.columns {
		names[i] = r.columns[i].name
	}
	return names
}

// Close reads and drops the other rows, and returns the statement's error.
func (r *Rows) Close() error {
	r.rows.Close()
	return r.rows.Err()
}

// advance moves to the next row. It returns io.EOF if there is none.
func (r *Rows) advance() error {
	more := r.more
	if !r.ahead {
		more = r.rows.Next()
	}
	if r.ahead = false; more {
		return nil
	}
	if err := r.rows.Err(); err != nil {
		return err
	}
	return io.EOF
}

// Next reads the next row.
func (r *Rows) Next(values []driver.Value) error {
	if err := r.advance(); err != nil {
		return err
	}
	if r.dest == nil {
		r.dest = make([]any, len(r.columns))
		for i := range r.columns {
			r.dest[i] = r.columns[i].dest()
		}
	}
	if err := r.rows.Scan(r.dest...); err != nil {
		return err
	}
	for i := range r.columns {
		values[i] = r.columns[i].value
	}
	return nil
}

// builtin knows the names of PostgreSQL's own types. It is only read.
var builtin = sync.OnceValue(pgtype.NewMap)

// ColumnTypeDatabaseTypeName returns the name of the column's type in capital letters, or the type's OID if pgx does not know its name.
func (r *Rows) ColumnTypeDatabaseTypeName(i int) string {
	types := r.rows.TypeMap()
	if types == nil { // there is no row, so nobody uses the connection any more
		types = builtin()
	}
	if t, ok := types.TypeForOID(r.columns[i].oid); ok {
		return strings.ToUpper(t.Name)
	}
	return strconv.FormatUint(uint64(r.columns[i].oid), 10)
}

// headerSize is what PostgreSQL adds to the length of a type with a length, and to the modifier of a numeric.
const headerSize = 4

// ColumnTypeLength returns the length of a type whose values have different lengths.
func (r *Rows) ColumnTypeLength(i int) (length int64, ok bool) {
	switch c := &r.columns[i]; c.oid {
	case pgtype.TextOID, pgtype.ByteaOID:
		return math.MaxInt64, true
	case pgtype.VarcharOID, pgtype.BPCharOID:
		return int64(c.modifier - headerSize), true
	case pgtype.VarbitOID:
		return int64(c.modifier), true
	}
	return 0, false
}

// ColumnTypePrecisionScale returns the precision and scale of a numeric.
func (r *Rows) ColumnTypePrecisionScale(i int) (precision, scale int64, ok bool) {
	c := &r.columns[i]
	if c.oid != pgtype.NumericOID {
		return 0, 0, false
	}
	m := c.modifier - headerSize
	return int64(uint16(m >> 16)), int64(uint16(m)), true
}

// scanTypes are the Go types of the types whose Go type is not string.
var scanTypes = map[uint32]reflect.Type{
	pgtype.BoolOID:        reflect.TypeFor[bool](),
	pgtype.ByteaOID:       reflect.TypeFor[[]byte](),
	pgtype.DateOID:        reflect.TypeFor[time.Time](),
	pgtype.Float4OID:      reflect.TypeFor[float32](),
	pgtype.Float8OID:      reflect.TypeFor[float64](),
	pgtype.Int2OID:        reflect.TypeFor[int16](),
	pgtype.Int4OID:        reflect.TypeFor[int32](),
	pgtype.Int8OID:        reflect.TypeFor[int64](),
	pgtype.NumericOID:     reflect.TypeFor[float64](),
	pgtype.TimestampOID:   reflect.TypeFor[time.Time](),
	pgtype.TimestamptzOID: reflect.TypeFor[time.Time](),
}

// ColumnTypeScanType returns a Go type into which the column's values can be scanned.
func (r *Rows) ColumnTypeScanType(i int) reflect.Type {
	if t := scanTypes[r.columns[i].oid]; t != nil {
		return t
	}
	return reflect.TypeFor[string]()
}

package memrows

import (
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// MaxResult is how many bytes of a result are kept. A larger result keeps its Size, but no rows.
const MaxResult = 256 << 10

// Result is a whole result in memory, with no connection behind it. The zero value is empty.
type Result struct {
	fields []pgconn.FieldDescription
	data   []byte  // all values of all rows, one after the other
	ends   []int32 // where each value ends in data; negative if the value is NULL
	rows   int     // how many rows there are, since rows may have no columns
	tag    pgconn.CommandTag
	err    error
	size   int // how many bytes its values have, also if they were not kept
}

// Read adds all rows of rr, and closes it.
func (b *Result) Read(rr *pgconn.ResultReader) (err error) {
	for rr.NextRow() {
		b.add(rr.Values())
	}
	b.tag, err = rr.Close()
	return err
}

// add copies one row, unless the result is too large to keep.
func (b *Result) add(values [][]byte) {
	for _, v := range values {
		b.size += len(v) + 4
	}
	if b.size > MaxResult {
		b.data, b.ends, b.rows = nil, nil, 0
		return
	}
	b.rows++
	if b.data == nil { // even if all values are empty, since a nil value would be NULL
		b.data = make([]byte, 0, b.size)
	}
	for _, v := range values {
		end := int32(-1)
		if v != nil {
			b.data = append(b.data, v...)
			end = int32(len(b.data))
		}
		b.ends = append(b.ends, end)
	}
}

// readFirst reads the first row of r into b, and closes r. It returns the row's values, and c's types from m. Both are nil if there is no row.
func (b *Result) readFirst(r pgx.Rows, c *pgx.Conn, m *Maps) (values [][]byte, types *mapCopy) {
	if r.Next() {
		types = m.Of(c).take(r.FieldDescriptions())
		b.fields, b.rows, values = types.fields, 1, cloneValues(r.RawValues())
	}
	r.Close() // reads and drops the other rows; if one of them fails, the row has that error
	b.tag, b.err = r.CommandTag(), r.Err()
	return values, types
}

// cloneValues copies one row out of the connection's read buffer, in two allocations for any number of columns.
func cloneValues(values [][]byte) [][]byte {
	n := 0
	for _, v := range values {
		n += len(v)
	}
	buf := make([]byte, 0, n)
	clone := make([][]byte, len(values))
	for i, v := range values {
		if v != nil { // a nil value is NULL, an empty one is not
			at := len(buf)
			buf = append(buf, v...)
			clone[i] = buf[at:len(buf):len(buf)]
		}
	}
	return clone
}

// End sets the columns of the result, and the statement's error if it had one.
func (b *Result) End(fields []pgconn.FieldDescription, err error) { b.fields, b.err = fields, err }

// Fail replaces the result by err, and keeps only its size.
func (b *Result) Fail(err error) { *b = Result{err: err, size: b.size} }

// Size returns how many bytes were read, also if the result was too large to keep.
func (b *Result) Size() int { return b.size }

// Tag returns the statement's command tag, and Err its error.
func (b *Result) Tag() pgconn.CommandTag { return b.tag }
func (b *Result) Err() error             { return b.err }

// First returns the values of the first row, or nil if there is no row.
func (b *Result) First() [][]byte {
	if b.rows == 0 {
		return nil
	}
	row := make([][]byte, len(b.ends)/b.rows)
	b.read(row, 0, 0)
	return row
}

// read puts the values of the nth row, which begins at from, in row, and returns where the next row begins.
func (b *Result) read(row [][]byte, n int, from int32) int32 {
	for i, end := range b.ends[n*len(row):][:len(row)] {
		row[i] = nil
		if end >= 0 {
			row[i] = b.data[from:end:end]
			from = end
		}
	}
	return from
}

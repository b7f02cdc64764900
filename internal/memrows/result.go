package memrows

import (
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// MaxResult is how many bytes of a result are kept. A larger one has its Size, but no rows.
const MaxResult = 256 << 10

// Result is a whole result in memory, with no connection behind it. The zero value is empty.
type Result struct {
	fields []pgconn.FieldDescription
	data   []byte  // all values of all rows, one after the other
	ends   []int32 // where each ends in data; negative: NULL
	rows   int     // how many; they may have no columns
	tag    pgconn.CommandTag
	err    error
	size   int // what it needs in data, also if it was dropped
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
	if b.data == nil { // even if all values are empty: one that is nil is NULL
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

// readFirst makes b the first row of r, if it has one, and closes r. It returns the row's values and its types, of c's m; nil: there is none.
func (b *Result) readFirst(r pgx.Rows, c *pgx.Conn, m *Maps) (values [][]byte, types *mapCopy) {
	if r.Next() {
		types = m.Of(c).take(r.FieldDescriptions())
		b.fields, b.rows, values = types.fields, 1, cloneValues(r.RawValues())
	}
	r.Close() // reads and drops the other rows; an error among them is the row's
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
		if v != nil { // nil is NULL, empty is not
			at := len(buf)
			buf = append(buf, v...)
			clone[i] = buf[at:len(buf):len(buf)]
		}
	}
	return clone
}

// End sets the columns of what was read, and the statement's error, if it had one.
func (b *Result) End(fields []pgconn.FieldDescription, err error) { b.fields, b.err = fields, err }

// Fail replaces what was read, except its size, by err.
func (b *Result) Fail(err error) { *b = Result{err: err, size: b.size} }

// Size returns how many bytes were read, also if the result was too large to keep.
func (b *Result) Size() int { return b.size }

// Tag returns the statement's command tag, and Err its error.
func (b *Result) Tag() pgconn.CommandTag { return b.tag }
func (b *Result) Err() error             { return b.err }

// First returns the values of the first row; nil: there is none.
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

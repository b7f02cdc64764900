package memrows

import "github.com/jackc/pgx/v5/pgconn"

// MaxResult is how many bytes of a result are kept. One that is larger has its Size, but no rows.
const MaxResult = 256 << 10

// Result is a whole result in memory, with no connection behind it. The zero value is empty.
type Result struct {
	fields []pgconn.FieldDescription
	data   []byte  // all values of all rows, one after the other
	ends   []int32 // where each ends in data; negative: NULL
	rows   int     // may have no columns
	tag    pgconn.CommandTag
	err    error
	size   int // what it would be in data, also if it was dropped
}

// Read adds all that rr has, and closes it.
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
	if b.data == nil { // not nil, even if all values are empty: nil is NULL
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

// End says what the columns of what was read are, and the statement's error, if it had one.
func (b *Result) End(fields []pgconn.FieldDescription, err error) { b.fields, b.err = fields, err }

// Fail drops what was read, all but its size: there is err instead.
func (b *Result) Fail(err error) { *b = Result{err: err, size: b.size} }

// Size is how large it was, also if that was too large.
func (b *Result) Size() int { return b.size }

// Tag is the statement's command tag, and Err its error.
func (b *Result) Tag() pgconn.CommandTag { return b.tag }
func (b *Result) Err() error             { return b.err }

// First is its first row; nil: there is none.
func (b *Result) First() [][]byte {
	if b.rows == 0 {
		return nil
	}
	row := make([][]byte, len(b.ends)/b.rows)
	b.read(row, 0, 0)
	return row
}

// read has the values of the nth row, which begins at from, in row, and returns where the next begins.
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

// Row is its first row, if it has one, decoded with the types of s.
func (b *Result) Row(s *Set) *Row {
	w := &Row{sent: true, tag: b.tag, err: b.err}
	if b.rows > 0 {
		w.fields, w.values, w.types = b.fields, b.First(), s.take(b.fields)
	}
	return w
}

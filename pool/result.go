package pool

import (
	"reflect"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// buffered is a whole result in memory, with no connection behind it.
type buffered struct {
	fields []pgconn.FieldDescription
	data   []byte  // all values of all rows, one after the other
	ends   []int32 // where each ends in data; negative: NULL
	rows   int     // may have no columns
	tag    pgconn.CommandTag
	err    error
	size   int // what it would be in data, also if it was dropped
}

// add copies one row, unless the result is too large to keep.
func (b *buffered) add(values [][]byte) {
	for _, v := range values {
		b.size += len(v) + 4
	}
	if b.size > maxResult {
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

// bufferedRows are pgx.Rows over a result in memory. All that pgx's own Rows do,
// they do, in the same order.
type bufferedRows struct {
	buffered
	types  *rowTypes // of the connection that carried it; nil when closed
	ended  *placeholder
	next   int      // the next row
	from   int      // its first byte in data
	values [][]byte // of the current row
	plans  []plan   // how the last Scan read each column
	closed bool
	failed error // of Scan or Values
}

func (r *bufferedRows) Close() {
	if r.closed {
		return
	}
	r.closed = true
	r.values = nil
	r.types.give()
	r.types = nil
}

func (r *bufferedRows) Err() error {
	if r.failed != nil {
		return r.failed
	}
	if !r.closed {
		return nil
	}
	return r.err
}

func (r *bufferedRows) CommandTag() pgconn.CommandTag {
	if !r.closed {
		return pgconn.CommandTag{}
	}
	return r.tag
}

// FieldDescriptions returns a copy: what others on the lane see is not the
// caller's to change.
func (r *bufferedRows) FieldDescriptions() []pgconn.FieldDescription { return slices.Clone(r.fields) }

func (r *bufferedRows) Next() bool {
	if r.closed {
		return false
	}
	if r.next == r.rows {
		r.Close()
		return false
	}
	if r.values == nil {
		r.values = make([][]byte, len(r.fields))
	}
	for i, end := range r.ends[r.next*len(r.fields):][:len(r.fields)] {
		if end < 0 {
			r.values[i] = nil
			continue
		}
		r.values[i] = r.data[r.from:end:end]
		r.from = int(end)
	}
	r.next++
	return true
}

func (r *bufferedRows) Scan(dest ...any) error {
	if r.closed {
		return r.notOpen()
	}
	err := r.scan(dest)
	if err != nil {
		r.fatal(err)
	}
	return err
}

func (r *bufferedRows) scan(dest []any) error {
	if len(dest) == 1 {
		if rs, ok := dest[0].(pgx.RowScanner); ok {
			return rs.ScanRow(r)
		}
	}
	r.types.know(dest)
	if r.next < 2 || len(dest) != len(r.fields) || len(r.values) != len(r.fields) { // one row, or an error in pgx's words
		return pgx.ScanRow(r.types.Map, r.fields, r.values, dest...)
	}
	if r.plans == nil {
		r.plans = make([]plan, len(dest))
	}
	for i, d := range dest {
		if d == nil {
			continue
		}
		f, p := &r.fields[i], &r.plans[i]
		if t := reflect.TypeOf(d); p.dest != t {
			p.dest, p.scan = t, r.types.PlanScan(f.DataTypeOID, f.Format, d)
		}
		if err := p.scan.Scan(r.values[i], d); err != nil {
			return pgx.ScanArgError{ColumnIndex: i, FieldName: f.Name, Err: err}
		}
	}
	return nil
}

// plan is how a column is read into destinations of one type. Making it is most of
// the cost of reading a small value, so rows share it, as in pgx.
type plan struct {
	dest reflect.Type
	scan pgtype.ScanPlan
}

func (r *bufferedRows) Values() ([]any, error) {
	if r.closed {
		return nil, r.notOpen()
	}
	values, err := decodeRow(r.types.Map, r.fields, r.values)
	if err != nil {
		r.fatal(err)
	}
	return values, err
}

func (r *bufferedRows) RawValues() [][]byte { return r.values }

// Conn returns a closed connection with the rows' own TypeMap: theirs serves others by now.

// Conn is a closed connection with the TypeMap of the rows: the one that carried them serves others by now.
func (r *bufferedRows) Conn() *pgx.Conn {
	if r.types == nil {
		c, _ := r.ended.conn()
		return c
	}
	return r.types.connOf()
}

func (r *bufferedRows) TypeMap() *pgtype.Map {
	if r.types == nil {
		return nil
	}
	return r.types.Map
}

func (r *bufferedRows) fatal(err error) {
	if r.failed == nil {
		r.failed = err
	}
	r.Close()
}

func (r *bufferedRows) notOpen() error {
	if r.failed != nil {
		return r.failed
	}
	return errRowsClosed
}

// row makes a result a Row: its first row, if it has one.
func (r *bufferedRows) row() *row {
	w := &row{sent: true, tag: r.tag, err: r.err}
	if r.Next() {
		w.fields, w.values, w.types = r.fields, r.values, r.types
		return w
	}
	return w
}

package memrows

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
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

// ErrClosed is the error of using closed rows. Its text is pgx's.
var ErrClosed = errors.New("rows is closed")

// Rows are pgx.Rows over a result in memory. They do all that pgx's own Rows do, in the same order.
type Rows struct {
	result Result
	set    *Set     // the types of the connection that carried the result; nil if none did
	types  *mapCopy // a copy of set's types; nil when the rows are closed
	next   int      // the number of the next row
	from   int32    // where the next row begins in data
	values [][]byte // the values of the current row
	plans  []plan   // how the last Scan read each column
	failed error    // the error of Scan or Values
}

// Rows returns the rows of b, decoded with the types of s.
func (b *Result) Rows(s *Set) *Rows { return &Rows{result: *b, set: s, types: s.take(b.fields)} }

func (r *Rows) Close() {
	if r.types != nil {
		r.types.give()
		r.types, r.values = nil, nil
	}
}

func (r *Rows) Err() error {
	if r.failed != nil || r.types != nil {
		return r.failed
	}
	return r.result.err
}

func (r *Rows) CommandTag() pgconn.CommandTag {
	if r.types != nil {
		return pgconn.CommandTag{}
	}
	return r.result.tag
}

// FieldDescriptions returns a copy, since several rides share the result's.
func (r *Rows) FieldDescriptions() []pgconn.FieldDescription { return slices.Clone(r.result.fields) }

func (r *Rows) Next() bool {
	if r.types == nil || r.next == r.result.rows {
		r.Close()
		return false
	}
	if r.values == nil {
		r.values = make([][]byte, len(r.result.fields))
	}
	r.from = r.result.read(r.values, r.next, r.from)
	r.next++
	return true
}

func (r *Rows) Scan(dest ...any) error {
	if r.types == nil {
		return cmp.Or(r.failed, ErrClosed)
	}
	err := r.scan(dest)
	if err != nil {
		r.fatal(err)
	}
	return err
}

func (r *Rows) scan(dest []any) error {
	if len(dest) == 1 {
		if rs, ok := dest[0].(pgx.RowScanner); ok {
			return rs.ScanRow(r)
		}
	}
	r.types.askFor(dest)
	if r.next < 2 || len(dest) != len(r.result.fields) || len(r.values) != len(r.result.fields) { // the first row has no plans yet, or pgx refuses the call
		return pgx.ScanRow(r.types.Map, r.result.fields, r.values, dest...)
	}
	if r.plans == nil {
		r.plans = make([]plan, len(dest))
	}
	for i, d := range dest {
		if d == nil {
			continue
		}
		f, p := &r.result.fields[i], &r.plans[i]
		if t := reflect.TypeOf(d); p.dest != t {
			p.dest, p.scan = t, r.types.PlanScan(f.DataTypeOID, f.Format, d)
		}
		if err := p.scan.Scan(r.values[i], d); err != nil {
			return pgx.ScanArgError{ColumnIndex: i, FieldName: f.Name, Err: err}
		}
	}
	return nil
}

// plan says how a column is read into destinations of one type. Making a plan costs more than reading a small value, so rows share plans, as in pgx.
type plan struct {
	dest reflect.Type
	scan pgtype.ScanPlan
}

func (r *Rows) Values() ([]any, error) {
	if r.types == nil {
		return nil, cmp.Or(r.failed, ErrClosed)
	}
	values, err := r.types.decode(r.result.fields, r.values)
	if err != nil {
		r.fatal(err)
	}
	return values, err
}

func (r *Rows) RawValues() [][]byte { return r.values }

// Conn returns a closed connection with the TypeMap of the rows, since the connection that carried them already serves others.
func (r *Rows) Conn() *pgx.Conn {
	switch {
	case r.types != nil:
		return r.types.connOf()
	case r.set != nil:
		return r.set.closed()
	}
	return nil
}

func (r *Rows) TypeMap() *pgtype.Map {
	if r.types == nil {
		return nil
	}
	return r.types.Map
}

// Format shows no contents, whatever the verb, since they may be secret. Its receiver is a value, so that copies are covered too.
func (Rows) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "lmipool.Rows()") }

func (r *Rows) fatal(err error) {
	r.failed = cmp.Or(r.failed, err)
	r.Close()
}

// Row is the first row of a result in memory. Scan and its errors are those of pgx's QueryRow.
type Row struct {
	rows    Rows   // stands on its first row, or is closed if there is none
	sent    bool   // the statement was sent
	scanErr *error // where a batch keeps its first error of Scan; nil if the row is not part of a batch
}

// Row returns the first row of b, decoded with the types of s.
func (b *Result) Row(s *Set) *Row {
	w := &Row{rows: Rows{result: *b, set: s}, sent: true}
	if b.rows > 0 {
		w.rows.types = s.take(b.fields)
		w.rows.Next()
	}
	return w
}

// ReadRow reads the first row of r, if any, into memory, and closes r, whose connection is c and has the types of m.
func ReadRow(r pgx.Rows, c *pgx.Conn, m *Maps) *Row {
	w := &Row{sent: true}
	if w.rows.values, w.rows.types = w.rows.result.readFirst(r, c, m); w.rows.types != nil {
		w.rows.set, w.rows.next = w.rows.types.set, 1
	}
	return w
}

// Tag returns the statement's command tag, and Err its error, which SetErr replaces.
func (r *Row) Tag() pgconn.CommandTag { return r.rows.result.tag }
func (r *Row) SetErr(err error)       { r.rows.result.End(r.rows.result.fields, err) }
func (r *Row) Err() error {
	if r.rows.failed != nil { // cmp.Or of interfaces takes three times as long
		return r.rows.failed
	}
	return r.rows.result.err
}

// OnScanError lets the first error of Scan be noted in err, for a batch whose Close returns it.
func (r *Row) OnScanError(err *error) { r.scanErr = err }

// Format shows no contents, like [Rows.Format].
func (Row) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "lmipool.Row()") }

// Scan reads the row. A second Scan finds no row, as in pgx.
func (r *Row) Scan(dest ...any) error {
	if r.sent { // for a statement that was sent, pgx looks at dest before it looks at the statement's error
		for _, d := range dest {
			if _, ok := d.(*pgtype.DriverBytes); ok {
				return errors.New("cannot scan into *pgtype.DriverBytes from QueryRow")
			}
		}
	}
	if r.rows.types == nil {
		return cmp.Or(r.Err(), pgx.ErrNoRows)
	}
	if err := r.rows.Scan(dest...); err != nil && r.scanErr != nil {
		*r.scanErr = cmp.Or(*r.scanErr, err)
	}
	r.rows.Close() // not deferred: after a panic in a Scanner the map may be in any state, and is not given back
	return r.Err()
}

// FailedRows returns the Rows of a query that failed before there were any, and Failed the Row of a statement that was not sent.
func FailedRows(err error) *Rows { return &Rows{failed: err} }
func Failed(err error) *Row      { return &Row{rows: Rows{failed: err}} }

// FailedBatch returns the result of a batch that never reached the server. tx is the closed transaction that it was to begin, if any.
func FailedBatch(err error, tx pgx.Tx) pgx.BatchResults { return failedBatch{err, tx} }

type failedBatch struct {
	err error
	tx  pgx.Tx
}

func (b failedBatch) Exec() (pgconn.CommandTag, error) { return pgconn.CommandTag{}, b.err }
func (b failedBatch) Query() (pgx.Rows, error)         { return FailedRows(b.err), b.err }
func (b failedBatch) QueryRow() pgx.Row                { return Failed(b.err) }
func (b failedBatch) Close() error                     { return b.err }
func (b failedBatch) Tx() pgx.Tx                       { return b.tx } // as of pgx 5.12

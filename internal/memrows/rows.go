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

// ErrClosed has pgx's own words.
var ErrClosed = errors.New("rows is closed")

// Rows are pgx.Rows over a result in memory. All that pgx's own Rows do, they do, in the same order.
type Rows struct {
	result Result
	set    *Set     // of the connection that carried it; nil: none did
	types  *mapCopy // of set; nil when closed
	next   int      // the next row
	from   int32    // its first byte in data
	values [][]byte // of the current row
	plans  []plan   // how the last Scan read each column
	failed error    // of Scan or Values
}

// Rows are those of b, decoded with the types of s.
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

// FieldDescriptions returns a copy: what others on the lane see is not the caller's to change.
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
	if r.next < 2 || len(dest) != len(r.result.fields) || len(r.values) != len(r.result.fields) { // one row, or an error in pgx's words
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

// plan is how a column is read into destinations of one type. Making it is most of the cost of reading a small value, so rows share
// it, as in pgx.
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

// Conn is a closed connection with the TypeMap of the rows: the one that carried them serves others by now.
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

// Format shows nothing of what is inside, whatever the verb, also of a copy: it may be secret.
func (Rows) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "lmipool.Rows()") }

func (r *Rows) fatal(err error) {
	r.failed = cmp.Or(r.failed, err)
	r.Close()
}

// FailedRows are the Rows of a query that failed before there were any.
func FailedRows(err error) *Rows { return &Rows{failed: err} }

// FailedBatch is the result of a batch that never reached the server. tx is the closed transaction that it was to begin, if any.
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

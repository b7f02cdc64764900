package pool

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

var errRowsClosed = errors.New("rows is closed") // pgx's own words

// queryRow runs sql and reads its row at once. own is as for exec.
func (l *Lease) queryRow(ctx context.Context, sql string, args []any, own bool) *row {
	c, err := l.enter(sql)
	if err != nil {
		return &row{err: err}
	}
	defer l.leave()
	meant, err := l.meant(ctx, sql, args, false)
	if err != nil {
		return &row{err: l.c.judge(err)}
	}
	l.note(ctx, sql, meant)
	r, err := c.Query(ctx, sql, meant...)
	w := readRow(r, err, l.c)
	if own && l.c.stale(w.err) {
		r, err = c.Query(ctx, sql, meant...)
		w = readRow(r, err, l.c)
	}
	l.answered(w.err)
	return w
}

// readRow reads the first row of what a Query returned, if any, into memory, and
// closes r.
func readRow(r pgx.Rows, err error, c *conn) *row {
	if err != nil {
		return &row{err: c.judge(err)}
	}
	w := &row{sent: true}
	if r.Next() {
		w.fields = slices.Clone(r.FieldDescriptions())
		w.values = cloneValues(r.RawValues())
		w.types = c.types.of(c.pg).take(w.fields)
	}
	r.Close() // reads and drops the other rows; an error among them is the row's
	w.tag, w.err = r.CommandTag(), c.judge(r.Err())
	c.p.writer.wrote(w.tag)
	return w
}

// cloneValues copies one row out of the connection's read buffer, in two
// allocations whatever its width.
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

// row is one row in memory, with no connection behind it. Scan and its errors are
// those of pgx's QueryRow.
type row struct {
	sent   bool
	types  *rowTypes // nil: there is no row
	fields []pgconn.FieldDescription
	values [][]byte
	tag    pgconn.CommandTag
	err    error // of the statement; may come after the row
	batch  *batch
}

func (r *row) Scan(dest ...any) error {
	if r.sent { // the statement was sent, so pgx would look at dest first
		for _, d := range dest {
			if _, ok := d.(*pgtype.DriverBytes); ok {
				return errors.New("cannot scan into *pgtype.DriverBytes from QueryRow")
			}
		}
	}
	if r.types == nil {
		if r.err != nil {
			return r.err
		}
		return pgx.ErrNoRows
	}
	if err := (&scannedRow{r}).Scan(dest...); err != nil {
		r.err = err
		if r.batch != nil && r.batch.scanErr == nil {
			r.batch.scanErr = err
		}
	}
	// As in pgx, a second Scan finds no row. The map goes back only from here:
	// after a panic in a Scanner it may be in any state.
	r.types.give()
	r.types = nil
	return r.err
}

// scannedRow is the row as Rows, for destinations that scan a whole row.
type scannedRow struct{ r *row }

func (s *scannedRow) Close()                                       {}
func (s *scannedRow) Err() error                                   { return s.r.err }
func (s *scannedRow) CommandTag() pgconn.CommandTag                { return s.r.tag }
func (s *scannedRow) FieldDescriptions() []pgconn.FieldDescription { return slices.Clone(s.r.fields) }
func (s *scannedRow) Next() bool                                   { return false }
func (s *scannedRow) RawValues() [][]byte                          { return s.r.values }
func (s *scannedRow) Conn() *pgx.Conn                              { return s.r.types.connOf() }
func (s *scannedRow) TypeMap() *pgtype.Map                         { return s.r.types.Map }

func (s *scannedRow) Scan(dest ...any) error {
	if len(dest) == 1 {
		if rs, ok := dest[0].(pgx.RowScanner); ok {
			return rs.ScanRow(s)
		}
	}
	s.r.types.know(dest)
	return pgx.ScanRow(s.r.types.Map, s.r.fields, s.r.values, dest...)
}

func (s *scannedRow) Values() ([]any, error) {
	return decodeRow(s.r.types.Map, s.r.fields, s.r.values)
}

// decodeRow decodes one row as pgx's Rows.Values does.
func decodeRow(m *pgtype.Map, fields []pgconn.FieldDescription, raw [][]byte) ([]any, error) {
	values := make([]any, len(fields))
	for i, f := range fields {
		v := raw[i]
		t, known := m.TypeForOID(f.DataTypeOID)
		switch {
		case v == nil:
		case known:
			d, err := t.Codec.DecodeValue(m, f.DataTypeOID, f.Format, v)
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

package memrows

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// Row is one row in memory, with no connection behind it. Scan and its errors are those of pgx's QueryRow.
type Row struct {
	sent    bool
	types   *mapCopy // nil: there is no row
	fields  []pgconn.FieldDescription
	values  [][]byte
	tag     pgconn.CommandTag
	err     error  // of the statement; may come after the row
	scanErr *error // of a batch, which returns its first
}

// Failed is the Row of a statement that was not sent.
func Failed(err error) *Row { return &Row{err: err} }

// ReadRow reads the first row of r, if any, into memory, and closes r, whose connection is c and has the types of m.
func ReadRow(r pgx.Rows, c *pgx.Conn, m *Maps) *Row {
	w := &Row{sent: true}
	if r.Next() {
		w.fields = slices.Clone(r.FieldDescriptions())
		w.values = cloneValues(r.RawValues())
		w.types = m.Of(c).take(w.fields)
	}
	r.Close() // reads and drops the other rows; an error among them is the row's
	w.tag, w.err = r.CommandTag(), r.Err()
	return w
}

// cloneValues copies one row out of the connection's read buffer, in two allocations whatever its width.
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

// Tag is the statement's command tag, and Err its error, which SetErr replaces.
func (r *Row) Tag() pgconn.CommandTag { return r.tag }
func (r *Row) Err() error             { return r.err }
func (r *Row) SetErr(err error)       { r.err = err }

// OnScanError has the first error of Scan noted in err, for a batch whose Close returns it.
func (r *Row) OnScanError(err *error) { r.scanErr = err }

// Format shows nothing of what is inside, whatever the verb, also of a copy: it may be secret.
func (Row) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "lmipool.Row()") }

func (r *Row) Scan(dest ...any) error {
	if r.sent { // the statement was sent, so pgx would look at dest first
		for _, d := range dest {
			if _, ok := d.(*pgtype.DriverBytes); ok {
				return errors.New("cannot scan into *pgtype.DriverBytes from QueryRow")
			}
		}
	}
	if r.types == nil {
		return cmp.Or(r.err, pgx.ErrNoRows)
	}
	if err := (&scannedRow{r}).Scan(dest...); err != nil {
		r.err = err
		if r.scanErr != nil && *r.scanErr == nil {
			*r.scanErr = err
		}
	}
	// As in pgx, a second Scan finds no row. The map goes back only from here: after a panic in a Scanner it may be in any state.
	r.types.give()
	r.types = nil
	return r.err
}

// scannedRow is the row as Rows, for destinations that scan a whole row.
type scannedRow struct{ r *Row }

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
	s.r.types.askFor(dest)
	return pgx.ScanRow(s.r.types.Map, s.r.fields, s.r.values, dest...)
}

func (s *scannedRow) Values() ([]any, error) { return s.r.types.decode(s.r.fields, s.r.values) }

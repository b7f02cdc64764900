//go:build go1.27

package stdlib

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"reflect"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

var _ driver.RowsColumnScanner = (*Rows)(nil)

// NextRow moves to the next row.
func (r *Rows) NextRow() error { return r.advance() }

// ScanColumn scans a column of the row into dest, as pgx's stdlib does as of Go 1.27: database/sql converts values into its own kinds of destinations,
// and pgx scans into all others, such as slices and pgtype's types.
func (r *Rows) ScanColumn(ctx driver.ScanContext, i int, dest any) error {
	if dest == nil {
		return errors.New("destination not a pointer")
	}
	if v := reflect.ValueOf(dest); v.Kind() == reflect.Pointer && v.IsNil() {
		return errors.New("destination pointer is nil")
	}
	if r.dest == nil {
		r.dest = make([]any, len(r.columns))
	}
	defer func() { r.dest[i] = nil }() // pgx leaves out columns whose destination is nil
	if !takesValue(reflect.TypeOf(dest)) {
		r.dest[i] = dest
		return r.rows.Scan(r.dest...)
	}
	r.dest[i] = r.columns[i].dest()
	if err := r.rows.Scan(r.dest...); err != nil {
		return err
	}
	return sql.ConvertAssign(ctx, dest, r.columns[i].value)
}

// takesValue reports whether database/sql can convert a driver.Value into a destination of type t.
func takesValue(t reflect.Type) bool {
	for range 8 { // a pointer type can be its own element
		switch {
		case t.Implements(reflect.TypeFor[sql.Scanner]()):
			return true
		case t.Implements(reflect.TypeFor[pgtype.ArraySetter]()), t.Implements(reflect.TypeFor[pgtype.BytesScanner]()):
			return false
		case t.Kind() != reflect.Pointer:
			return isScalar(t)
		}
		t = t.Elem()
	}
	return false
}

// isScalar reports whether t holds one value: a number, a text, bytes, a bool or a time, or anything at all.
func isScalar(t reflect.Type) bool {
	switch k := t.Kind(); k {
	case reflect.Slice:
		return t.Elem().Kind() == reflect.Uint8
	case reflect.Struct:
		return t.ConvertibleTo(reflect.TypeFor[time.Time]())
	default:
		return k == reflect.Bool || k == reflect.String || k == reflect.Interface || k >= reflect.Int && k <= reflect.Float64 && k != reflect.Uintptr
	}
}

package stdlib

import (
	"bytes"
	"database/sql/driver"

	"github.com/jackc/pgx/v5/pgtype"
)

// column is a column of a result, and its value in the current row as database/sql wants it.
type column struct {
	name     string
	oid      uint32
	modifier int32
	value    driver.Value
}

// dest returns c as the destination into which pgx scans the column's values. Each of the types below takes values in one way.
func (c *column) dest() any {
	switch c.oid {
	case pgtype.BoolOID:
		return (*boolColumn)(c)
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID:
		return (*intColumn)(c)
	case pgtype.CIDOID, pgtype.OIDOID, pgtype.XIDOID:
		return (*uintColumn)(c)
	case pgtype.Float4OID, pgtype.Float8OID:
		return (*floatColumn)(c)
	case pgtype.DateOID:
		return (*dateColumn)(c)
	case pgtype.TimestampOID:
		return (*timestampColumn)(c)
	case pgtype.TimestamptzOID:
		return (*timestamptzColumn)(c)
	case pgtype.ByteaOID:
		return (*bytesColumn)(c)
	case pgtype.JSONOID, pgtype.JSONBOID, pgtype.XMLOID:
		return (*textBytesColumn)(c)
	}
	return (*textColumn)(c)
}

type (
	boolColumn        column
	intColumn         column
	uintColumn        column
	floatColumn       column
	dateColumn        column
	timestampColumn   column
	timestamptzColumn column
	bytesColumn       column
	textColumn        column
	textBytesColumn   column
)

// These are the methods that pgtype looks for. The value is nil for NULL, and a text for an infinite time.

func (c *boolColumn) ScanBool(v pgtype.Bool) error {
	if c.value = nil; v.Valid {
		c.value = v.Bool
	}
	return nil
}

func (c *intColumn) ScanInt64(v pgtype.Int8) error {
	if c.value = nil; v.Valid {
		c.value = v.Int64
	}
	return nil
}

func (c *uintColumn) ScanUint32(v pgtype.Uint32) error {
	if c.value = nil; v.Valid {
		c.value = int64(v.Uint32)
	}
	return nil
}

func (c *floatColumn) ScanFloat64(v pgtype.Float8) error {
	if c.value = nil; v.Valid {
		c.value = v.Float64
	}
	return nil
}

func (c *textColumn) ScanText(v pgtype.Text) error {
	if c.value = nil; v.Valid {
		c.value = v.String
	}
	return nil
}

func (c *textBytesColumn) ScanText(v pgtype.Text) error {
	if c.value = nil; v.Valid {
		c.value = []byte(v.String)
	}
	return nil
}

// ScanBytes copies v, which is valid only during the call.
func (c *bytesColumn) ScanBytes(v []byte) error {
	if c.value = nil; v != nil {
		c.value = bytes.Clone(v)
	}
	return nil
}

func (c *dateColumn) ScanDate(v pgtype.Date) (err error) {
	c.value, err = v.Value()
	return err
}

func (c *timestampColumn) ScanTimestamp(v pgtype.Timestamp) (err error) {
	c.value, err = v.Value()
	return err
}

func (c *timestamptzColumn) ScanTimestamptz(v pgtype.Timestamptz) (err error) {
	c.value, err = v.Value()
	return err
}

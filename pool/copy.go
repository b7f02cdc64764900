package pool

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// copyFrom runs a CopyFrom on l's connection, between enter and leave.
func (l *Lease) copyFrom(ctx context.Context, in preparer, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	l.heard()
	if _, err := l.settled(ctx); err != nil {
		return 0, err
	}
	l.note(ctx, insertFor(table, columns), nil)
	return l.c.copyFrom(ctx, in, table, columns, src)
}

// insertFor is an INSERT that leaves behind what COPY into these columns does: it runs the same defaults, checks and triggers.
func insertFor(table pgx.Identifier, columns []string) string {
	quoted, values := quoteAll(columns)
	return fmt.Sprintf("insert into %s (%s) select %s", table.Sanitize(), quoted, values)
}

// quoteAll are names in quotes, and as many NULLs.
func quoteAll(names []string) (quoted, nulls string) {
	all, each := make([]string, len(names)), make([]string, len(names))
	for i, name := range names {
		all[i], each[i] = pgx.Identifier{name}.Sanitize(), "null"
	}
	return strings.Join(all, ", "), strings.Join(each, ", ")
}

// copyFrom does what pgx's CopyFrom does, but for two things.
//
// pgx reads the source, and encodes what it returns, in a goroutine of its own that does not recover.
// So a panic of a driver.Valuer, or of any other method that encoding a value calls, ends the process
// and with it every invocation. Here it is the error of CopyFrom.
//
// And the columns are described each time, which costs a round trip. pgx keeps their types by
// table and columns: under another search_path, or after a column got another type of the same
// size, it would write what is no longer meant, without an error.
//
// in is what describes them: the connection, or a transaction on it, which knows whether it has ended.
func (c *conn) copyFrom(ctx context.Context, in preparer, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (_ int64, err error) {
	var tag pgconn.CommandTag
	if t := c.copies; t != nil {
		ctx = t.TraceCopyFromStart(ctx, c.pg, pgx.TraceCopyFromStartData{TableName: table, ColumnNames: columns})
		defer func() { t.TraceCopyFromEnd(ctx, c.pg, pgx.TraceCopyFromEndData{CommandTag: tag, Err: err}) }()
	}
	names, _ := quoteAll(columns)
	into := table.Sanitize()
	d, err := in.Prepare(ctx, "", fmt.Sprintf("select %s from %s", names, into))
	if err != nil {
		return 0, fmt.Errorf("statement description failed: %w", err)
	}
	r, w := io.Pipe()
	s := copySource{src: src, w: w, types: c.pg.TypeMap(), fields: d.Fields}
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := errSourceLeft
		defer func() { w.CloseWithError(err) }()
		err = c.p.guard("CopyFromSource", s.send)
	}()
	tag, err = c.pg.PgConn().CopyFrom(ctx, r, fmt.Sprintf("copy %s ( %s ) from stdin binary;", into, names))
	r.Close()
	<-done
	return tag.RowsAffected(), err
}

// preparer is a connection or a transaction.
type preparer interface {
	Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error)
}

var errSourceLeft = errors.New("lmipool: CopyFromSource has ended its goroutine")

// copySource sends what a CopyFromSource has in PostgreSQL's binary format.
type copySource struct {
	src    pgx.CopyFromSource
	w      *io.PipeWriter
	types  *pgtype.Map
	fields []pgconn.FieldDescription
}

// copyChunk is what pgconn sends in one message, without its header.
const copyChunk = 65536 - 5

func (s *copySource) send() error {
	buf := append(make([]byte, 0, copyChunk), "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
	largest := 0
	for s.src.Next() {
		at := len(buf)
		values, err := s.src.Values()
		if err == nil {
			buf, err = s.row(buf, values)
		}
		if err != nil {
			return err
		}
		// What is more than pgconn reads at once would be sent as a large and a tiny message.
		if largest = max(largest, len(buf)-at); len(buf) <= copyChunk-largest {
			continue
		}
		if err := s.src.Err(); err != nil {
			return err
		}
		if _, err := s.w.Write(buf); err != nil { // nobody reads any more
			return err
		}
		buf = buf[:0]
	}
	if err := s.src.Err(); err != nil {
		return err
	}
	_, err := s.w.Write(buf)
	return err
}

// row appends one row.
func (s *copySource) row(buf []byte, values []any) (_ []byte, err error) {
	if len(values) != len(s.fields) {
		return nil, fmt.Errorf("expected %d values, got %d values", len(s.fields), len(values))
	}
	buf = binary.BigEndian.AppendUint16(buf, uint16(len(values)))
	for i, v := range values {
		if buf, err = s.value(buf, s.fields[i].DataTypeOID, v); err != nil {
			return nil, err
		}
	}
	return buf, nil
}

// value appends one value: its length and itself, or -1 for NULL.
func (s *copySource) value(buf []byte, oid uint32, v any) ([]byte, error) {
	at := len(buf)
	buf = append(buf, "\xff\xff\xff\xff"...)
	encoded, err := s.types.Encode(oid, pgx.BinaryFormatCode, v, buf)
	if err != nil {
		again, notText := s.fromText(buf, oid, v)
		if notText != nil {
			return nil, arguments{args: []any{v}}.withoutArgument(err)
		}
		encoded = again
	}
	if encoded == nil {
		return buf, nil
	}
	binary.BigEndian.PutUint32(encoded[at:], uint32(len(encoded)-at-4))
	return encoded, nil
}

// fromText is for a value that has no binary format of its own, but text that means one.
func (s *copySource) fromText(buf []byte, oid uint32, v any) ([]byte, error) {
	text, ok := v.(string)
	if !ok {
		b, err := s.types.Encode(oid, pgx.TextFormatCode, v, nil)
		if err != nil {
			return nil, err
		}
		text = string(b)
	}
	if t, ok := s.types.TypeForOID(oid); ok {
		if _, ok := t.Codec.(*pgtype.ArrayCodec); ok { // as pgx 5.12, which keeps the dimensions
			var a pgtype.Array[any]
			if s.types.Scan(oid, pgx.TextFormatCode, []byte(text), &a) == nil {
				return s.types.Encode(oid, pgx.BinaryFormatCode, a, buf)
			}
		}
	}
	var a any
	if err := s.types.Scan(oid, pgx.TextFormatCode, []byte(text), &a); err != nil {
		return nil, err
	}
	return s.types.Encode(oid, pgx.BinaryFormatCode, a, buf)
}

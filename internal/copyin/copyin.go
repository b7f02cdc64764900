// Package copyin does what pgx's CopyFrom does, except for three things.
//
// A panic in the source, or in a method of a value, such as a driver.Valuer's, is the error of the copy. pgx calls these in a goroutine of its own that
// does not recover; there a panic ends the process, and with it every invocation.
//
// The columns are described each time, which costs a round trip. pgx keeps their types by the names of table and columns. Under another search_path, or
// after a column got another type of the same size, pgx would write wrong values without an error.
//
// Run returns when its ctx ends. If it is calling the source then, it waits for the call up to [Copy.Wait], and does not call the source again. pgx would
// go on until a message is full, or for ever if the source hangs. A value's method may hang too, and uses the connection's types meanwhile.
package copyin

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/lmipool/lmipool/internal/pgerr"
)

// Copy is one CopyFrom.
type Copy struct {
	Table   pgx.Identifier
	Columns []string
	From    pgx.CopyFromSource
	Tracer  pgx.CopyFromTracer                      // nil if there is none
	Catch   func(what string, f func() error) error // runs f, and returns its panic as an error
	Wait    time.Duration                           // bounds the time after the end of ctx in which Run waits for the source's last call
	In      interface {                             // describes the columns: the connection, or its transaction, which refuses if it has ended
		Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error)
	}
}

// Insert returns an INSERT that runs the same defaults, checks and triggers as a COPY into these columns, so that it leaves the same in the session.
func Insert(table pgx.Identifier, columns []string) string {
	nulls := strings.TrimSuffix(strings.Repeat("null, ", len(columns)), ", ")
	return fmt.Sprintf("insert into %s (%s) select %s", table.Sanitize(), quoteAll(columns), nulls)
}

func quoteAll(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = pgx.Identifier{name}.Sanitize()
	}
	return strings.Join(quoted, ", ")
}

// Run copies on c, and returns the number of rows. If a value is still being encoded with c's types, encoding is not nil and is closed when that ends.
func (y *Copy) Run(ctx context.Context, c *pgx.Conn) (_ int64, encoding <-chan struct{}, err error) {
	var tag pgconn.CommandTag
	if t := y.Tracer; t != nil {
		ctx = t.TraceCopyFromStart(ctx, c, pgx.TraceCopyFromStartData{TableName: y.Table, ColumnNames: y.Columns})
		defer func() { t.TraceCopyFromEnd(ctx, c, pgx.TraceCopyFromEndData{CommandTag: tag, Err: err}) }()
	}
	names, into := quoteAll(y.Columns), y.Table.Sanitize()
	d, err := y.In.Prepare(ctx, "", fmt.Sprintf("select %s from %s", names, into))
	if err != nil {
		return 0, nil, fmt.Errorf("statement description failed: %w", err)
	}
	r, w := io.Pipe()
	s := &source{src: y.From, w: w, types: c.TypeMap(), fields: d.Fields}
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := pgerr.Say[pgerr.CallbackExitError]("lmipool: CopyFromSource has ended its goroutine")
		defer func() { w.CloseWithError(err) }()
		err = y.Catch("CopyFromSource", s.send)
	}()
	inValue, stopped := false, make(chan struct{})
	unwatch := context.AfterFunc(ctx, func() {
		defer close(stopped)
		w.CloseWithError(ctx.Err()) // pgx reads until there is an error, even after its ctx has ended
		inValue = s.stop()
	})
	tag, err = c.PgConn().CopyFrom(ctx, r, fmt.Sprintf("copy %s ( %s ) from stdin binary;", into, names))
	if pg := (*pgconn.PgError)(nil); ctx.Err() != nil && errors.As(err, &pg) && pg.Code == "57014" { // the server was asked to cancel, or pgx has ended the COPY because its reads of r failed
		err = pgerr.Canceled(ctx.Err(), err)
	}
	r.Close()
	inLast := s.stop()
	select {
	case <-done:
		unwatch()
	case <-ctx.Done():
		<-stopped
		select {
		case <-done:
		case <-time.After(y.Wait):
			if inValue || inLast {
				encoding = done
			}
		}
	}
	return tag.RowsAffected(), encoding, err
}

var errOver = errors.New("lmipool: the CopyFrom is over") // ends the source's goroutine; no caller gets it

// source sends the rows of a CopyFromSource in PostgreSQL's binary format.
type source struct {
	src    pgx.CopyFromSource
	w      *io.PipeWriter
	types  *pgtype.Map
	fields []pgconn.FieldDescription
	does   atomic.Uint32
}

// These are the values of source.does.
const (
	asks    uint32 = iota // the source calls the CopyFromSource, or sends what it has encoded
	encodes               // the source encodes values
	over                  // the source does nothing more
)

// to sets s.does to next and returns true. If s is over, it returns false.
func (s *source) to(next uint32) bool {
	now := s.does.Load()
	return now != over && s.does.CompareAndSwap(now, next)
}

// stop sets s.does to over, so that the call that is running is the last one. It reports whether that call encodes a value.
func (s *source) stop() (encoding bool) { return s.does.Swap(over) == encodes }

// chunk is the number of bytes that pgconn sends in one message, without the message's header.
const chunk = 65536 - 5

func (s *source) send() error {
	buf := append(make([]byte, 0, chunk), "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
	largest := 0
	for s.to(asks) && s.src.Next() {
		if !s.to(asks) {
			return errOver
		}
		at := len(buf)
		values, err := s.src.Values()
		if !s.to(encodes) {
			return errOver
		}
		if err == nil {
			buf, err = s.row(buf, values)
		}
		if err != nil {
			return err
		}
		// If buf became longer than a chunk, pgconn would send it as a large and a tiny message.
		if largest = max(largest, len(buf)-at); len(buf) <= chunk-largest {
			continue
		}
		if err := s.write(buf); err != nil {
			return err
		}
		buf = buf[:0]
	}
	return s.write(buf)
}

// write sends buf, unless s is over or the source has failed.
func (s *source) write(buf []byte) error {
	if !s.to(asks) {
		return errOver
	}
	if err := s.src.Err(); err != nil {
		return err
	}
	_, err := s.w.Write(buf) // Write fails if pgx does not read any more
	return err
}

func (s *source) row(buf []byte, values []any) (_ []byte, err error) {
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

// value appends v in the binary format of type oid to buf: its length and its bytes, or -1 for NULL.
func (s *source) value(buf []byte, oid uint32, v any) ([]byte, error) {
	at := len(buf)
	buf = append(buf, "\xff\xff\xff\xff"...)
	encoded, err := s.types.Encode(oid, pgx.BinaryFormatCode, v, buf)
	if err != nil {
		again, notText := s.fromText(buf, oid, v)
		if notText != nil {
			return nil, pgerr.Arguments{Args: []any{v}}.WithoutArgument(err)
		}
		encoded = again
	}
	if encoded == nil {
		return buf, nil
	}
	binary.BigEndian.PutUint32(encoded[at:], uint32(len(encoded)-at-4))
	return encoded, nil
}

// fromText appends a value that cannot be encoded in the binary format directly, but whose text can be parsed as a value of type oid.
func (s *source) fromText(buf []byte, oid uint32, v any) ([]byte, error) {
	text, ok := v.(string)
	if !ok {
		b, err := s.types.Encode(oid, pgx.TextFormatCode, v, nil)
		if err != nil {
			return nil, err
		}
		text = string(b)
	}
	if t, ok := s.types.TypeForOID(oid); ok {
		if _, ok := t.Codec.(*pgtype.ArrayCodec); ok { // pgx 5.12 keeps the dimensions in the same way
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

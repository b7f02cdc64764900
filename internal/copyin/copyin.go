// Package copyin does what pgx's CopyFrom does, except for three things.
//
// A panic in the source, or in a method of a value, such as a driver.Valuer's, is the error of the copy. pgx calls these in a goroutine of its own that
// does not recover; there a panic ends the process, and with it every invocation.
//
// The columns are described each time, which costs a round trip. pgx keeps their types by table and columns. Under another search_path, or after a
// column got another type of the same size, it would write wrong values without an error.
//
// The caller gets control back when its ctx ends, up to [Copy.Wait] after that if a call of the source is running, which then is the last one. pgx goes
// on asking until a message is full, or for ever if the source hangs. A method of a value may hang too, and uses the connection's types meanwhile.
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
	Tracer  pgx.CopyFromTracer                      // nil: none
	Catch   func(what string, f func() error) error // runs f, and returns its panic as an error
	Wait    time.Duration                           // how long the source's call that runs when ctx ends may take
	In      interface {                             // describes the columns: the connection, or the transaction on it, which refuses if it has ended
		Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error)
	}
}

// Insert returns an INSERT that leaves the same in the session as a COPY into these columns: it runs the same defaults, checks and triggers.
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

// Run copies on c, and returns the number of rows. encoding is not nil if a value is still being encoded, with c's types: then it is closed after that.
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
		w.CloseWithError(ctx.Err()) // pgx waits for what it reads, whatever its ctx
		inValue = s.stop()
	})
	tag, err = c.PgConn().CopyFrom(ctx, r, fmt.Sprintf("copy %s ( %s ) from stdin binary;", into, names))
	if pg := (*pgconn.PgError)(nil); ctx.Err() != nil && errors.As(err, &pg) && pg.Code == "57014" { // of a cancel request, or since r has failed
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

var errOver = errors.New("lmipool: the CopyFrom is over") // nobody gets it

// source sends what a CopyFromSource has in PostgreSQL's binary format.
type source struct {
	src    pgx.CopyFromSource
	w      *io.PipeWriter
	types  *pgtype.Map
	fields []pgconn.FieldDescription
	does   atomic.Uint32
}

// These are what a source does.
const (
	asks    uint32 = iota // it calls the CopyFromSource, or sends what it has encoded
	encodes               // it encodes values
	over                  // nothing more
)

// to goes on to the next step, unless s is over.
func (s *source) to(next uint32) bool {
	now := s.does.Load()
	return now != over && s.does.CompareAndSwap(now, next)
}

// stop makes the call that runs the last one. It reports whether that call encodes a value.
func (s *source) stop() (encoding bool) { return s.does.Swap(over) == encodes }

// chunk is what pgconn sends in one message, without its header.
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
		// More than a chunk would be sent as a large and a tiny message.
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
	_, err := s.w.Write(buf) // fails if nobody reads any more
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

// value appends one value: its length and itself, or -1 for NULL.
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

// fromText appends a value that cannot be encoded in binary directly, but whose text can be parsed as one of that type.
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

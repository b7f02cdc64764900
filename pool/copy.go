package pool

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

// copyFrom runs a CopyFrom on l's connection, after enter. It sees to leave.
func (l *Lease) copyFrom(ctx context.Context, in preparer, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (_ int64, err error) {
	var encoding <-chan struct{}
	defer func() {
		if encoding == nil {
			l.leave()
			return
		}
		// Until the value lets go the lease is in a call, so nobody uses its connection's types beside it; its end tears the connection away.
		l.mu.Lock()
		l.stuck = true
		l.mu.Unlock()
		go func() {
			<-encoding
			l.leave()
		}()
	}()
	l.heard()
	if _, err := l.settled(ctx); err != nil {
		return 0, err
	}
	l.note(ctx, insertFor(table, columns), nil)
	n, encoding, err := l.c.copyFrom(ctx, in, table, columns, src)
	l.p.writer.Copied(err)
	return n, l.c.wrapError(err)
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

// copyFrom does what pgx's CopyFrom does, but for three things.
//
// pgx reads the source, and encodes what it returns, in a goroutine of its own that does not recover.
// So a panic of a driver.Valuer, or of any other method that encoding a value calls, ends the process
// and with it every invocation. Here it is the error of CopyFrom.
//
// And the columns are described each time, which costs a round trip. pgx keeps their types by
// table and columns: under another search_path, or after a column got another type of the same
// size, it would write what is no longer meant, without an error.
//
// And whoever calls it is free when his ctx ends. pgx goes on asking the source until a message is full, or for ever if it
// hangs. Here the COPY is broken off, and the source's call that runs is the last one; it is waited for as the server is, since most
// are short. A method of a value that is being encoded may hang as well, but goes on beside the connection's types: encoding, which is then not nil, is
// closed when it is done.
//
// in is what describes them: the connection, or a transaction on it, which knows whether it has ended.
func (c *conn) copyFrom(ctx context.Context, in preparer, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (_ int64, encoding <-chan struct{}, err error) {
	var tag pgconn.CommandTag
	if t := c.copies; t != nil {
		ctx = t.TraceCopyFromStart(ctx, c.pg, pgx.TraceCopyFromStartData{TableName: table, ColumnNames: columns})
		defer func() { t.TraceCopyFromEnd(ctx, c.pg, pgx.TraceCopyFromEndData{CommandTag: tag, Err: err}) }()
	}
	names, _ := quoteAll(columns)
	into := table.Sanitize()
	d, err := in.Prepare(ctx, "", fmt.Sprintf("select %s from %s", names, into))
	if err != nil {
		return 0, nil, fmt.Errorf("statement description failed: %w", err)
	}
	r, w := io.Pipe()
	s := &copySource{src: src, w: w, types: c.pg.TypeMap(), fields: d.Fields}
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := errSourceLeft
		defer func() { w.CloseWithError(err) }()
		err = c.p.catchPanic("CopyFromSource", s.send)
	}()
	inValue, over := false, make(chan struct{})
	unwatch := context.AfterFunc(ctx, func() {
		defer close(over)
		w.CloseWithError(ctx.Err()) // pgx waits for what it reads, whatever its ctx
		inValue = s.stop()
	})
	tag, err = c.pg.PgConn().CopyFrom(ctx, r, fmt.Sprintf("copy %s ( %s ) from stdin binary;", into, names))
	if pg := (*pgconn.PgError)(nil); ctx.Err() != nil && errors.As(err, &pg) && pg.Code == "57014" { // by a cancel request, or because the data ended so
		err = pgerr.Canceled(ctx.Err(), err)
	}
	r.Close()
	inLast := s.stop()
	select {
	case <-done:
		unwatch()
	case <-ctx.Done():
		if <-over; !isDone(done, c.p.cancelWait()) && (inValue || inLast) {
			encoding = done
		}
	}
	return tag.RowsAffected(), encoding, err
}

// isDone waits for done, but no longer than bound.
func isDone(done <-chan struct{}, bound time.Duration) bool {
	t := time.NewTimer(bound)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
		return false
	}
}

// preparer is a connection or a transaction.
type preparer interface {
	Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error)
}

var (
	errSourceLeft = errors.New("lmipool: CopyFromSource has ended its goroutine")
	errStuck      = pgerr.Unsent("the statement", errors.New("a value of the CopyFrom before is still being encoded; the connection is given up"))
	errCopyOver   = errors.New("lmipool: the CopyFrom is over") // nobody hears of it
)

// copySource sends what a CopyFromSource has in PostgreSQL's binary format.
type copySource struct {
	src    pgx.CopyFromSource
	w      *io.PipeWriter
	types  *pgtype.Map
	fields []pgconn.FieldDescription

	at    copying
	state atomic.Uint32 // at, or copyOver
}

// copying is what a copySource is at.
type copying = uint32

const (
	copyNext copying = iota
	copyValues
	copyEncode
	copyWrite
	copyOver // it is to do no more
)

// to goes on to the next step, unless it is over.
func (s *copySource) to(next copying) bool {
	ok := s.state.CompareAndSwap(s.at, next)
	s.at = next
	return ok
}

// stop has s do no more than end the call that runs. Encoding reports whether that encodes a value.
func (s *copySource) stop() (encoding bool) { return s.state.Swap(copyOver) == copyEncode }

// copyChunk is what pgconn sends in one message, without its header.
const copyChunk = 65536 - 5

func (s *copySource) send() error {
	buf := append(make([]byte, 0, copyChunk), "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
	largest := 0
	for s.to(copyNext) && s.src.Next() {
		if !s.to(copyValues) {
			return errCopyOver
		}
		at := len(buf)
		values, err := s.src.Values()
		if !s.to(copyEncode) {
			return errCopyOver
		}
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
		if err := s.write(buf); err != nil {
			return err
		}
		buf = buf[:0]
	}
	return s.write(buf)
}

// write sends buf, unless the source has failed.
func (s *copySource) write(buf []byte) error {
	if !s.to(copyWrite) {
		return errCopyOver
	}
	if err := s.src.Err(); err != nil {
		return err
	}
	_, err := s.w.Write(buf) // fails if nobody reads any more
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

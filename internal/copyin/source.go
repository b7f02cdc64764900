package copyin

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/lmipool/lmipool/internal/pgerr"
)

var errOver = errors.New("lmipool: the CopyFrom is over") // nobody hears of it

// source sends what a CopyFromSource has in PostgreSQL's binary format.
type source struct {
	src    pgx.CopyFromSource
	w      *io.PipeWriter
	types  *pgtype.Map
	fields []pgconn.FieldDescription
	state  atomic.Uint32 // what it does: atNext and so on, or over
}

const (
	atNext uint32 = iota
	atValues
	atEncode
	atWrite
	over // it is to do no more
)

// to goes on to the next step, unless it is over.
func (s *source) to(next uint32) bool {
	at := s.state.Load()
	return at != over && s.state.CompareAndSwap(at, next)
}

// stop has s do no more than end the call that runs. Encoding reports whether that encodes a value.
func (s *source) stop() (encoding bool) { return s.state.Swap(over) == atEncode }

// chunk is what pgconn sends in one message, without its header.
const chunk = 65536 - 5

func (s *source) send() error {
	buf := append(make([]byte, 0, chunk), "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
	largest := 0
	for s.to(atNext) && s.src.Next() {
		if !s.to(atValues) {
			return errOver
		}
		at := len(buf)
		values, err := s.src.Values()
		if !s.to(atEncode) {
			return errOver
		}
		if err == nil {
			buf, err = s.row(buf, values)
		}
		if err != nil {
			return err
		}
		// What is more than pgconn reads at once would be sent as a large and a tiny message.
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

// write sends buf, unless the source has failed.
func (s *source) write(buf []byte) error {
	if !s.to(atWrite) {
		return errOver
	}
	if err := s.src.Err(); err != nil {
		return err
	}
	_, err := s.w.Write(buf) // fails if nobody reads any more
	return err
}

// row appends one row.
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

// fromText is for a value that has no binary format of its own, but text that means one.
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

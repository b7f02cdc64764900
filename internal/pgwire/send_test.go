package pgwire

import (
	"errors"
	"io"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
)

// writerFunc is what a wire writes to.
type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// pgx keeps what it could not write, and would send it with its goodbye.
func TestAfterAWriteThatFailedNothingIsWritten(t *testing.T) {
	t.Parallel()
	for _, failure := range []error{syscall.EPIPE, errors.New("a deadline")} {
		for _, written := range []int{0, 7} {
			var calls [][]byte
			w := New(io.LimitReader(nil, 0), writerFunc(func(b []byte) (int, error) {
				if calls = append(calls, b); len(calls) == 1 {
					return written, failure
				}
				return len(b), nil
			}), new(atomic.Int64))
			statement := Query("insert into t values (1)").Messages
			_, err := w.Write(statement)
			assert.ErrorIs(t, err, failure)
			assert.Equal(t, written > 0, w.Executed())
			_, err = w.Write(statement)
			assert.Error(t, err)
			_, _ = w.Write(append(statement, terminate...))
			if written == 0 {
				assert.Equal(t, [][]byte{statement, terminate}, calls)
			} else {
				assert.Equal(t, [][]byte{statement}, calls)
			}
		}
	}
}

// What of a packet is pgx's, if not all of it could be written.
func TestOnlyPgxsPartOfAPacketCountsAsWritten(t *testing.T) {
	t.Parallel()
	own := Query("reset all")
	for short, pgxs := range map[int]int{0: 0, len(own.Messages): 0, len(own.Messages) + 3: 3} {
		w := New(io.LimitReader(nil, 0), writerFunc(func([]byte) (int, error) { return short, syscall.EPIPE }), new(atomic.Int64))
		w.Queue(own)
		n, err := w.Write(Query("insert into t values (1)").Messages)
		assert.ErrorIs(t, err, syscall.EPIPE)
		assert.Equal(t, pgxs, n)
		assert.Equal(t, pgxs > 0, w.Executed())
	}
}

// Nothing keeps a simple Query from running in front of what belongs to the same transaction.
func TestASimpleQueryIsNotSentWithWhatIsQueuedBehindBegin(t *testing.T) {
	t.Parallel()
	s := &server{}
	w := New(s, s, new(atomic.Int64))
	w.DeferBegin()
	_, err := w.Write(Query("begin").Messages)
	assert.NoError(t, err)
	w.Queue(Query("behind"))
	w.QueueFirst(Query("first"))
	assert.NoError(t, w.Flush())
	assert.Equal(t, []string{"Qfirst\x00"}, s.got)
	_, err = w.Write(Query("select 1").Messages)
	assert.ErrorIs(t, err, ErrSimple)
	assert.Len(t, s.got, 1)
}

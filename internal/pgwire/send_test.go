package pgwire

import (
	"errors"
	"io"
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
			}), nil)
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

package pool

import (
	"errors"
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestWhatWasDialedBeforeAFenceIsBehindIt(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 5)
	held, idle := d.open(), &conn{}
	d.queue(false)
	<-d.dials
	under := &conn{fences: d.fenceCount()} // a dial that goes on meanwhile
	d.mu.Lock()
	d.conns[idle], d.idle = struct{}{}, []*conn{idle}
	d.mu.Unlock()

	taken, first := d.fence(held)
	assert.Equal(t, []*conn{idle}, taken)
	assert.True(t, first)
	_, first = d.fence(idle)
	assert.False(t, first, "it is known")
	assert.True(t, held.fenced.Load())
	d.dialed(under)
	assert.True(t, under.fenced.Load())
	after := &conn{fences: d.fenceCount()}
	d.mu.Lock()
	d.dialing++
	d.mu.Unlock()
	d.dialed(after)
	assert.False(t, after.fenced.Load())
}

// Connections that nobody can get are none.
func TestAPoolWhoseConnectionsAreAllFencedDialsAsOneWithout(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 3)
	c := d.open()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failures, d.lack = 20, lack{err: ErrServerAway}
	assert.Greater(t, d.restLocked(), mostRest/2-1)
	c.fenced.Store(true)
	assert.LessOrEqual(t, d.restLocked(), mostIfAway)
	d.notBefore = time.Now().Add(mostRest)
	d.hurryLocked(time.Now())
	assert.LessOrEqual(t, time.Until(d.notBefore), mostIfAway)
}

// writerFunc is what a wire writes to.
type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// pgx keeps what it could not write, and would send it with its goodbye.
func TestAfterAWriteThatFailedNothingIsWritten(t *testing.T) {
	t.Parallel()
	for _, failure := range []error{syscall.EPIPE, errors.New("a deadline")} {
		for _, written := range []int{0, 7} {
			var calls [][]byte
			w := &wire{r: io.LimitReader(nil, 0), w: writerFunc(func(b []byte) (int, error) {
				if calls = append(calls, b); len(calls) == 1 {
					return written, failure
				}
				return len(b), nil
			})}
			statement := query("insert into t values (1)")
			_, err := w.Write(statement)
			assert.ErrorIs(t, err, failure)
			assert.Equal(t, written > 0, w.executed.Load())
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

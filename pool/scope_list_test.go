package pool

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// listed is what s still holds, the last added first.
func listed(s *Scope) (held []belonging) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for h := s.held; h != nil; h = h.next {
		held = append(held, h.l)
	}
	return held
}

// A stream's scope, say, can live for long: what came back must not pile up in it.
func TestAScopeForgetsWhatCameBack(t *testing.T) {
	t.Parallel()
	ctx, p := newQuietPool(t, Config{MaxConns: 1})
	inv, scope := p.OpenScope(ctx, "", time.Time{})
	defer scope.End()
	for range 50 {
		_, err := p.Exec(inv, "")
		require.NoError(t, err)
	}
	assert.Empty(t, listed(scope))
}

func TestAScopesLeasesComeBackInAnyOrder(t *testing.T) {
	t.Parallel()
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		s, l := &Scope{}, []*Lease{{}, {}, {}}
		for i := range l {
			require.True(t, s.add(&l[i].place, l[i]))
		}
		assert.Equal(t, []belonging{l[2], l[1], l[0]}, listed(s))
		s.remove(&l[order[0]].place)
		assert.Len(t, listed(s), 2, "%v", order)
		s.remove(&l[order[1]].place)
		if left := listed(s); assert.Len(t, left, 1, "%v", order) {
			assert.Same(t, l[order[2]], left[0], "%v", order)
		}
		s.remove(&l[order[2]].place)
		assert.Empty(t, listed(s), "%v", order)
	}
}

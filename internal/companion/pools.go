package companion

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// ErrOpen is Open's error while there is a companion that is not closed.
var ErrOpen = errors.New("the pool has a companion already: share that one, or close it first")

// Pools are the companions that a pool has had. At most one of them is not closed.
type Pools struct {
	Gate
	Reserve func(n int) // keeps n places for the companion
	Closed  error       // what a dial gets after Close

	mu     sync.Mutex
	last   *pgxpool.Pool   // nil if there was none
	dialed context.Context // of last's first dial; nil before
	over   bool            // Close was called
}

// Open returns a new companion. Its config's BeforeConnect has to call Dials.
func (s *Pools) Open(ctx context.Context, config *pgxpool.Config) (*pgxpool.Pool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return nil, s.Closed
	}
	if s.last != nil && !s.isClosed() {
		return nil, ErrOpen
	}
	px, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	s.Reserve(0) // until px dials
	s.last, s.dialed = px, nil
	return px, nil
}

// asks is a key in the ctx of isClosed's Acquire.
type asks struct{}

var errNotClosed = errors.New("lmipool: the companion is not closed")

// isClosed reports whether last is closed. pgxpool does not say so. But it ends the ctx of each dial when it is closed, and dials no more. A pool that has
// never dialed is asked to, and Dials refuses the dial. It is not asked at once while other dials are about to begin.
func (s *Pools) isClosed() bool {
	if s.dialed != nil {
		return s.dialed.Err() != nil
	}
	ctx, cancel := context.WithTimeout(context.WithValue(context.Background(), asks{}, true), 100*time.Millisecond)
	defer cancel()
	_, err := s.last.Acquire(ctx)
	return !errors.Is(err, errNotClosed) && ctx.Err() == nil
}

// Dials is called before each dial of a companion, with the dial's ctx, and returns an error if there must be none. The first dial keeps the companion's
// places until it is closed. Dials calls begins before the dial. begins may start goroutines of the pool, since Close comes later.
func (s *Pools) Dials(ctx context.Context, begins func()) error {
	if ctx.Value(asks{}) != nil {
		return errNotClosed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return s.Closed
	}
	if ctx.Err() != nil { // its pool is closed, and need not be the last
		return ctx.Err()
	}
	defer begins()
	if s.dialed != nil {
		return nil
	}
	s.dialed = ctx
	px := s.last
	s.Reserve(int(px.Config().MaxConns))
	s.Go("companion", func() {
		<-ctx.Done()
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.last == px {
			s.Reserve(0)
		}
	})
	return nil
}

// Reset has the companion close its connections: idle ones now, and those in use when they come back.
func (s *Pools) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last != nil {
		s.last.Reset()
	}
}

// Close closes the companion. It does not wait as pgxpool's Close does, which has no bound: the connections have their places until they are closed.
func (s *Pools) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	if s.last != nil {
		go s.last.Close()
	}
}

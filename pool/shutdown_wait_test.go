package pool

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
)

// A connection that is in its checks when Shutdown takes it back is in no
// goroutine of the pool's, so nothing but its place says that it is still there.
func TestShutdownReturnsWhenTheLastPlaceIsFree(t *testing.T) {
	t.Parallel()
	checking, unchecked, goOn := make(chan struct{}), make(chan struct{}), make(chan struct{})
	closing, closeIt := make(chan struct{}), make(chan struct{})
	ctx, p := newQuietPool(t, Config{
		MaxConns: 1,
		PrepareConn: func(ctx context.Context, _ *pgx.Conn) (bool, error) {
			close(checking)
			<-ctx.Done()
			close(unchecked)
			<-goOn // it does not heed its ctx
			return true, nil
		},
		BeforeClose: func(*pgx.Conn) {
			close(closing)
			<-closeIt
		},
	})
	go p.Acquire(ctx)
	<-checking
	over, cancel := context.WithCancel(ctx)
	cancel()
	done := make(chan error, 1)
	go func() { done <- p.Shutdown(over) }()
	<-unchecked
	early := func() {
		t.Helper()
		select {
		case <-done:
			t.Error("Shutdown returned while a connection was there")
			done <- nil
		case <-time.After(20 * time.Millisecond): // what must not happen has no event
		}
	}
	early()
	close(goOn)
	<-closing
	early()
	close(closeIt)
	<-done
	assert.Zero(t, p.Stat().TotalConns())
}

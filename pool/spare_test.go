package pool

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Statements reuse the leases of earlier ones, but none that somebody has from a list.
func TestALeaseIsNotReusedWhileSomebodyLooksAtIt(t *testing.T) {
	t.Parallel()
	ctx, p := newQuietPool(t, Config{MaxConns: 2})
	blocker, err := p.Acquire(ctx)
	require.NoError(t, err)
	defer blocker.Release()
	lock := func(do string) string { return "select " + do + "(7014)" }
	_, err = blocker.Exec(ctx, lock("pg_advisory_lock"))
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() {
		_, err := p.Exec(ctx, lock("pg_advisory_xact_lock"))
		done <- err
	}()
	seen := false
	for deadline := time.Now().Add(10 * time.Second); !seen && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		p.eachLease(func(l *Lease) {
			if l.what != kindStatement {
				return
			}
			seen = true
			_, err := blocker.Exec(ctx, lock("pg_advisory_unlock"))
			assert.NoError(t, err)
			assert.NoError(t, <-done)
			assert.Equal(t, "select pg_advisory_xact_lock(?)", l.holder(time.Now()).Doing)
		})
	}
	require.True(t, seen)
}

// lookedAt is a lease that says whether who lists it is one of the lookers.
type lookedAt struct{ yes bool }

func (l *lookedAt) lasts() bool { return false }
func (l *lookedAt) hasResult() bool {
	l.yes = lookers.Load() > 0
	return false
}
func (l *lookedAt) takeBack(time.Time) (report func()) { return nil }

func TestTheEndOfAScopeLooksAtItsLeases(t *testing.T) {
	t.Parallel()
	ctx, p := newQuietPool(t, Config{MaxConns: 1})
	_, scope := p.OpenScope(ctx, "", time.Time{})
	var l lookedAt
	require.True(t, scope.add(&held{}, &l))
	scope.End()
	assert.True(t, l.yes)
}

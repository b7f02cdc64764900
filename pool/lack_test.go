package pool

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWhoHasWaitedEnoughDoesNotWaitForTheOtherDial(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 2)
	d.ctx = t.Context() // without a deadline
	d.drop(d.open())
	d.patience = time.Millisecond
	end := d.queue(false)
	<-d.dials
	d.mu.Lock()
	d.dialing++ // another dial is under way, and may be for as long as it likes
	d.mu.Unlock()
	time.Sleep(awayPatience * d.patience)
	d.dialFailed(syscall.ECONNREFUSED, lack{err: ErrServerAway}, time.Now())
	select {
	case g := <-end:
		require.ErrorIs(t, g.err, ErrServerAway)
	case <-time.After(5 * time.Second):
		t.Fatal("it waits")
	}
}

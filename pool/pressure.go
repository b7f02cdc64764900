package pool

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// ErrServerFull is in the error of a caller who got no connection because the pool has
// none and the server takes no more. As long as there is time, and as long as the pool has
// a connection, no caller hears of it: who waits uses what there is, or what another
// environment leaves. The error that wraps it names the server's own, and what to change.
var ErrServerFull = errors.New("lmipool: the server takes no more connections")

// isFull reports whether a dial was refused for want of room: max_connections, the
// reserved slots, the CONNECTION LIMIT of the role or of the database (PostgreSQL says
// 53300 for each), or a pooler's own limit. PgBouncer says 08P01 for all that it refuses,
// in words of its own or in those of the server behind it.
func isFull(err error) bool {
	switch x := err.(type) { //nolint:errorlint // it walks the tree itself: each host that was tried has its own
	case nil:
		return false
	case *pgconn.PgError:
		return x.Code == "53300" || x.Code == "08P01" && fullWords.MatchString(x.Message)
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(x.Unwrap(), isFull)
	}
	return isFull(errors.Unwrap(err))
}

// fullWords are PgBouncer's settings and PostgreSQL's messages, these in English.
var fullWords = regexp.MustCompile(`max_client_conn|max_(db|user)_client_connections|too many (clients|connections)|connection slots are reserved`)

// fullError is what the refusal err means to a pool of at most maxConns.
func fullError(err error, maxConns int) error {
	return fmt.Errorf("%w: %w (environments × MaxConns, here %d, must fit into the server's max_connections and the"+
		" CONNECTION LIMITs of role and database, or the pooler's limit: raise those, or lower MaxConns)", ErrServerFull, err, maxConns)
}

// How long no dial is tried after one that failed, or was refused.
const (
	leastRest   = 50 * time.Millisecond
	leastIfFull = 200 * time.Millisecond
	mostRest    = 128 * leastRest // 6.4 s

	// mostIfBare is the longest rest of a pool that was refused and has no connection:
	// its callers wait for the next try. Those that have some leave it what comes free.
	mostIfBare = 800 * time.Millisecond
)

// restLocked is how long to rest after the last failed dial: it doubles with each, and half
// of it is at random, so that the environments of a fleet do not all come back at once.
func (a *admission) restLocked() time.Duration {
	least, most := leastRest, mostRest
	if a.full != nil {
		least = leastIfFull
		if len(a.conns) == 0 {
			most = mostIfBare
		}
	}
	rest := min(least<<min(a.failures-1, 7), most)
	return rest/2 + rand.N(rest/2)
}

// refusedLocked is what a dial's refusal for want of room comes to. It is nobody's error
// yet: the waiters stay. But nobody waits for ever, so one without a deadline of its own
// waits no longer than a dial may take.
func (a *admission) refusedLocked(now time.Time) {
	a.counts.refusedDials++
	a.limit = max(1, len(a.conns)+a.dialing) // the growth rule decides anew
	if len(a.conns) > 0 || a.dialing > 0 {
		return
	}
	for w := a.queue.head; w != nil; {
		next := w.next
		if !w.bounded && now.Sub(w.arrived) >= a.patience {
			a.queue.remove(w)
			w.ready <- grant{err: a.full}
		}
		w = next
	}
}

// outOfTimeLocked is why a waiter left whose ctx has ended: also that there is no connection at
// all, if that is the server's doing.
func (a *admission) outOfTimeLocked(err error) error {
	if a.full == nil || len(a.conns) > 0 {
		return err
	}
	return fmt.Errorf("%w: %w", err, a.full)
}

// isFull reports whether the last dial was refused for want of room.
func (a *admission) isFull() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.full != nil
}

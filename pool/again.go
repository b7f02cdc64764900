package pool

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/pgerr"
)

// again waits before a statement outside a transaction that ended with err runs once more, and
// returns the ctx for that; nil: it does not. It does if it certainly has not run: it was not
// sent, or refused by a standby, or by a session that could not be reset. A read that may ride
// does so too, once, when its connection was lost. l has been released: it holds nothing meanwhile.
func (p *Pool) again(ctx context.Context, l *Lease, err error) context.Context {
	r, repeated := ctx.Value(aloneKey{}).(rerun)
	if !repeated {
		r.began = l.asked
	}
	switch {
	case pgerr.DidNotRun(err):
		if !p.patient(ctx, r.began, r.tries) {
			return nil
		}
	case l.repeats || ctx.Err() != nil || !p.mayRepeat(ctx, l, err):
		return nil
	default:
		p.lanes.reruns.Add(1)
		sleep(ctx, afterLoss)
	}
	r.tries++
	return context.WithValue(ctx, aloneKey{}, r)
}

// rerun is what the ctx of a statement that runs once more knows of its other tries. It runs alone.
type rerun struct {
	began time.Time // the first
	tries int
}

// afterLoss is how long a read waits that is to run once more because its connection was
// lost. A server that stops ends all its sessions within moments, so another that still
// answers would be no better; and the read may run twice, not three times.
const afterLoss = 50 * time.Millisecond

// patient waits before a call that was begun at began, and lost its connection for the try+1st
// time, tries another, and says whether it is to. The first time is at once: it was a connection
// that had died while it was idle. But who takes a new connection and ends it at its first word,
// as a pooler does whose server is gone, would be dialed a thousand times a second. It is waited
// for as long as for a server that is away.
func (p *Pool) patient(ctx context.Context, began time.Time, try int) bool {
	switch _, bounded := ctx.Deadline(); {
	case ctx.Err() != nil:
		return false
	case try == 0:
		return true
	case !bounded && time.Since(began) >= awayPatience*p.cfg.ConnectTimeout:
		return false
	}
	return pause(ctx, try-1)
}

// mayChange reports whether an argument is a buffer, which its caller may use for something else as
// soon as a Query has returned: what is found to be stale later must not be sent again with it.
func mayChange(args []any) bool {
	for _, arg := range args {
		switch v := arg.(type) {
		case pgx.NamedArgs:
			if mayChange(slices.Collect(maps.Values(v))) {
				return true
			}
		case pgx.StrictNamedArgs:
			if mayChange(slices.Collect(maps.Values(v))) {
				return true
			}
		case nil, string, bool, int, int32, int64, float64, time.Time:
		default:
			if t := reflect.TypeOf(v); t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8 {
				return true
			}
		}
	}
	return false
}

// lostRead is err for a Query on a connection of its own, of which nobody has seen a row. It is not run again, since its
// Rows are its caller's by now, but he may do that: if it could ride it had no effect.
func (p *Pool) lostRead(ctx context.Context, l *Lease, err error) error {
	if err == nil || pgerr.DidNotRun(err) || !p.mayRepeat(ctx, l, err) {
		return err
	}
	return pgerr.NotRun("the connection of a read was lost", err)
}

// mayRepeat reports whether err is of a connection that was lost, and l's statement could ride, were it short. What was
// repeated is alone, by its ctx.
func (p *Pool) mayRepeat(ctx context.Context, l *Lease, err error) bool {
	if p.cfg.NoRerun || !pgerr.IsLost(err) || !p.rides || ctx.Value(aloneKey{}) != nil || !l.with.custom() {
		return false
	}
	o := parseArgs(l.args)
	sql, _, ok := o.rewritten(ctx, l.sql)
	return ok && o.few() && len(sql) <= catalog.MaxText && p.lanes.catalog.Find(sql, l.with.key()).IsHarmless()
}

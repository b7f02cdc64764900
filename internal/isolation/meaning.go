package isolation

import (
	"context"

	"github.com/lmipool/lmipool/internal/pgwire"
	"github.com/lmipool/lmipool/internal/session"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// Use is what one lease does with its session. During a call only that call may use it, between calls only who may begin one.
type Use struct {
	s    *Session
	with *session.Settings // what its statements run with; nil: no settings
	left residue           // what it leaves

	meaning meaning // of texts in its session
	touched bool    // something ran that may have changed the meaning
	planned bool    // plans from before the change are dropped, or a DISCARD for that is queued

	call uint32 // the number of the call that runs
	open bool   // a result is open, to which the call may belong
	more bool   // the lease may send more than one statement or batch
	inTx bool   // it may have a transaction that goes on after its batch
}

// meaning is whether texts mean in a session what they mean in a clean one.
type meaning uint8

const (
	meansSame meaning = iota
	meansAsk          // something ran that may have changed it: the server is asked before the next text
	meansOther
)

// keepsApart reports whether u's texts must not be in pgx's caches.
func (u *Use) keepsApart() bool { return u.meaning == meansOther || !u.with.Custom() }

// isSame reports whether texts are known to mean what they mean in a clean session.
func (u *Use) isSame() bool { return u.meaning == meansSame && u.with.Custom() }

// asks asks the server if that is due, and reports whether texts mean what they mean in a clean session. If they do not, it has old plans dropped.
func (u *Use) asks(ctx context.Context) (same bool, err error) {
	if u.meaning == meansAsk && u.with.Custom() {
		if err := u.ask(ctx); err != nil {
			return false, err
		}
	}
	if !u.keepsApart() {
		return u.meaning == meansSame, nil
	}
	u.leavePlans()
	u.dropPlans()
	return false, nil
}

// ask asks the server whether all that decides what a text means is as it was when the session was clean. That takes a round trip.
func (u *Use) ask(ctx context.Context) error {
	s := u.s
	pc := s.PG.PgConn()
	if s.Baseline == nil {
		u.meaning = meansOther
		return nil
	}
	if pc.TxStatus() == 'E' || pc.IsBusy() || pc.IsClosed() { // the next statement fails, with pgx's error
		return nil
	}
	same, err := s.Baseline.Same(ctx, pc)
	if !u.open {
		s.Wire.StartCall() // what was sent does not count as the call's
	}
	if err != nil {
		return err
	}
	u.meaning, u.planned = meansOther, false
	if same {
		u.meaning = meansSame
		if u.left.plans { // it was different before, and functions may have planned then
			u.dropPlans()
		}
	}
	return nil
}

// leavePlans notes that functions may plan texts with another meaning.
func (u *Use) leavePlans() {
	if u.s.Reach.Resets() {
		u.left.addPlans(sqltext.SessionTrace)
	}
}

// dropPlans queues that the server drops the plans of functions in front of the next exchange, since they were made under other settings. The reset
// drops plans again. A session that may be somebody else's keeps them.
func (u *Use) dropPlans() {
	if !u.planned && u.s.Reach.Resets() && u.s.Reach.Own() && u.s.PG.PgConn().TxStatus() != 'E' {
		u.planned = true
		u.s.Wire.QueueFirst(pgwire.Try("discard plans"))
	}
}

// change notes what a statement that is about to run does to the meaning of later texts: m or, if hidden, something that only the server can tell.
func (u *Use) change(m sqltext.Meaning, hidden bool) {
	if u.s.Baseline == nil { // nothing is known to compare with
		hidden = false
		if m == sqltext.MayChangeMeaning {
			m = sqltext.ChangesMeaning
		}
	}
	switch {
	case m == sqltext.ChangesMeaning:
		u.meaning = meansOther
		u.leavePlans()
	case m == sqltext.MayChangeMeaning:
		u.leavePlans()
		u.meaning = max(u.meaning, meansAsk)
	case hidden:
		u.meaning = max(u.meaning, meansAsk)
	case m == sqltext.RestoresMeaning:
		u.BeforeEnd()
		return
	default:
		return
	}
	u.touched, u.planned = true, false
}

// BeforeEnd notes that a transaction or a savepoint is about to end. What was set in it may be undone, and deferred triggers may run: the server has
// to be asked.
func (u *Use) BeforeEnd() {
	if u.touched {
		u.meaning = meansAsk
	}
}

// Doubt has the server asked what texts mean: a hook may have changed that, or the last user of a session that nobody resets.
func (u *Use) Doubt() { u.meaning, u.touched = meansAsk, true }

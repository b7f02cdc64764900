package isolation

import (
	"context"

	"github.com/lmipool/lmipool/internal/pgwire"
	"github.com/lmipool/lmipool/internal/session"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// Use is what one lease makes of its session. It is who is inside the lease's, or, between calls, who may enter.
type Use struct {
	s    *Session
	with *session.Settings // what its statements run with; nil: nothing
	left Left              // what it leaves

	meaning meaning // of texts in its session
	touched bool    // something ran that may have changed that
	planned bool    // what had been planned before is dropped, or will be

	call uint32 // the number of the one that runs
	open bool   // a result is open that may be what it is for
	more bool   // it may send more than one statement or batch
	inTx bool   // or may have a transaction that outlives its batch
}

// meaning is whether texts mean in a session what they mean in a clean one.
type meaning uint8

const (
	meansSame  meaning = iota
	meansAsk           // something ran of which nobody knows what it has set: the server is asked before the next text
	meansOther         // they do not
)

// keepsApart reports whether u's texts are kept out of pgx's caches.
func (u *Use) keepsApart() bool { return u.meaning == meansOther || !u.with.Custom() }

// isSame is true if texts are known to mean what they mean in a clean session.
func (u *Use) isSame() bool { return u.meaning == meansSame && u.with.Custom() }

// asks asks the server, if that is due, and reports whether texts mean what they mean in a clean session. If not, it does what is to be done before
// the next that runs something.
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

// ask asks the server whether all that decides what a text means is as it was when the session was clean. It is a round trip, and each statement that
// is parsed anew costs one more.
func (u *Use) ask(ctx context.Context) error {
	s := u.s
	pc := s.PG.PgConn()
	if s.Baseline == nil {
		u.meaning = meansOther
		return nil
	}
	if pc.TxStatus() == 'E' || pc.IsBusy() || pc.IsClosed() { // what comes next fails, and pgx says why
		return nil
	}
	same, err := s.Baseline.Same(ctx, pc)
	if !u.open {
		s.Wire.StartCall() // what was sent is not the user's
	}
	if err != nil {
		return err
	}
	u.meaning, u.planned = meansOther, false
	if same {
		u.meaning = meansSame
		if u.left.Plans() { // it was not, and functions may have planned then
			u.dropPlans()
		}
	}
	return nil
}

// leavePlans notes that texts mean something else, or may.
func (u *Use) leavePlans() {
	if u.s.Reach.Resets() {
		u.left.AddPlans(sqltext.SessionTrace)
	}
}

// dropPlans drops on the server, in front of what is sent next, what functions of the user's have planned, as that has another meaning than it would
// get now. The reset does so again. A session that may be somebody else's keeps its plans.
func (u *Use) dropPlans() {
	if !u.planned && u.s.Reach.Resets() && u.s.Reach.Own() && u.s.PG.PgConn().TxStatus() != 'E' {
		u.planned = true
		u.s.Wire.QueueFirst(pgwire.Try("discard plans"))
	}
}

// change notes what a statement that is about to run does to the meaning of later texts: m, or, if hidden, what only the server knows.
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

// BeforeEnd notes that a transaction, or what came after a savepoint, is over: what was set in it is what it was before, whatever that was; and
// triggers that were deferred have run.
func (u *Use) BeforeEnd() {
	if u.touched {
		u.meaning = meansAsk
	}
}

// Doubt notes that it is to be asked what texts mean: a hook may have changed it, or the last user of a session that nobody resets.
func (u *Use) Doubt() { u.meaning, u.touched = meansAsk, true }

// bequeath notes that for the next user. Behind a pooler he gets another session.
func (u *Use) bequeath() {
	u.s.strange = u.meaning == meansOther && u.s.Baseline != nil && u.s.Reach.Own() && !u.s.Reach.Isolates()
}

package isolation

import (
	"context"

	"github.com/lmipool/lmipool/internal/pgwire"
	"github.com/lmipool/lmipool/internal/session"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// Use is the state of one lease of a session. During a call only that call may use it. Between calls only the goroutine that may begin a call may.
type Use struct {
	s    *Session
	with *session.Settings // the settings that the lease's statements run with; nil if there are none
	left residue           // what the lease leaves

	meaning meaning // what texts mean in the session now
	touched bool    // a statement ran that may have changed the meaning
	planned bool    // plans from before the change are dropped, or a DISCARD for that is queued

	call uint32 // the number of the call that runs
	open bool   // a result is open, and the call may be about that result
	more bool   // the lease may send more than one statement or batch
	inTx bool   // the lease's batch may begin a transaction that goes on after the batch
}

// meaning says whether texts mean in a session what they mean in a clean session.
type meaning uint8

const (
	meansSame meaning = iota
	meansAsk          // a statement may have changed the meaning: the server is asked before the next text
	meansOther
)

// keepsApart reports whether u's texts must not be in pgx's caches.
func (u *Use) keepsApart() bool { return u.meaning == meansOther || !u.with.Custom() }

// isSame reports whether texts are known to mean what they mean in a clean session.
func (u *Use) isSame() bool { return u.meaning == meansSame && u.with.Custom() }

// asks asks the server if the meaning is not known, and reports whether texts mean what they mean in a clean session. If not, it drops old plans.
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
	u.dropPlans(ctx)
	return false, nil
}

// ask asks the server whether everything that decides what a text means is as it was when the session was clean. This takes a round trip.
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
		s.Wire.StartCall() // so that the question does not count as sent by the call
	}
	if err != nil {
		return err
	}
	u.meaning, u.planned = meansOther, false
	if same {
		u.meaning = meansSame
		if u.left.plans { // functions may have made plans while the meaning was different; ctx is not asked, since nobody drops them later
			u.dropPlans(context.Background())
		}
	}
	return nil
}

// leavePlans notes that functions may now make plans with another meaning than in a clean session. The reset after the lease must drop these plans.
func (u *Use) leavePlans() {
	if u.s.Reach.Resets() {
		u.left.addPlans(sqltext.SessionTrace)
	}
}

// dropPlans queues a DISCARD of the plans of functions in front of the next exchange, because they were made under other settings. The reset after
// the lease drops plans again. It does nothing behind a pooler, where the session may be another client's.
func (u *Use) dropPlans(ctx context.Context) {
	if !u.isUnsent(ctx) && !u.planned && u.s.Reach.Resets() && u.s.Reach.Own() && u.s.PG.PgConn().TxStatus() != 'E' {
		u.planned = true
		u.s.Wire.QueueFirst(pgwire.Try("discard plans"))
	}
}

// change notes what a statement that is about to run does to the meaning of later texts: m or, if hidden is true, something that only the server knows.
func (u *Use) change(m sqltext.Meaning, hidden bool) {
	if u.s.Baseline == nil { // the server cannot be asked: there is no baseline to compare with
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

// BeforeEnd notes that a transaction or a savepoint is about to end. Its settings may be undone, and deferred triggers may run, so the server is asked.
func (u *Use) BeforeEnd() {
	if u.touched {
		u.meaning = meansAsk
	}
}

// Doubt makes the next call ask the server what texts mean, because a hook, or the last user of a session that nobody resets, may have changed that.
func (u *Use) Doubt() { u.meaning, u.touched = meansAsk, true }

// isUnsent reports whether pgx certainly sends nothing because ctx has ended; a tracer might return another ctx. Then nothing must be queued: in front of
// the statement after that, which may be SET TRANSACTION or LOCK, a DISCARD would take the transaction's snapshot.
func (u *Use) isUnsent(ctx context.Context) bool {
	return ctx.Err() != nil && u.s.PG.Config().Tracer == nil
}

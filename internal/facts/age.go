package facts

import (
	"sync/atomic"
	"time"
)

// age is when what is known was last right, and what of it is known not to be. It is written here only. What is not atomic is
// guarded by the mutex of its Facts.
type age struct {
	snapshot string // of the last sign, if nothing was under way in it; "": unknown
	wrong    parts  // what is known not to hold any more
	restAt   int64  // when the rest was right, if a sign has told what is wrong, in nanoseconds

	signedAt atomic.Int64  // when the last sign that was right was asked for, in nanoseconds; 0: never
	ridden   atomic.Int64  // how many had ridden when the last sign came that was right
	asking   atomic.Int64  // since when somebody is asking for one; 0: nobody is
	suspect  atomic.Bool   // there is something in wrong
	turns    atomic.Uint64 // how often that was so
	restTill atomic.Int64  // no question before then: the last could not be answered
}

const (
	// maxSignAge is how old the last sign may be when a ride is sent, maxProofAge when its answer is read; signEvery is when the
	// next sign is asked for. So no answer that a change of the catalogs has made wrong comes more than a second after it.
	maxSignAge  = 800 * time.Millisecond
	maxProofAge = time.Second
	signEvery   = 400 * time.Millisecond

	// askTimeout bounds a question, while its connection is out.
	askTimeout = 5 * time.Second

	// restAfterFault is how long nothing is asked after a question that could not be answered.
	restAfterFault = 500 * time.Millisecond
)

// isFresh reports whether what is known was right a moment ago.
func (a *age) isFresh(now time.Time, slack time.Duration) bool {
	return !a.suspect.Load() && now.UnixNano()-a.signedAt.Load() < int64(maxSignAge+slack)
}

// RightAt is when what is known was right, for certain.
func (a *age) RightAt() time.Time { return time.Unix(0, a.signedAt.Load()) }

// IsSuspect reports whether some of the facts do not hold any more.
func (a *age) IsSuspect() bool { return a.suspect.Load() }

// IsDue reports whether it is time to ask for the sign again, or for what is not known to be right any more. As long as nothing
// is known there is nothing to ask for.
func (a *age) IsDue(now time.Time) bool {
	return a.signedAt.Load() != 0 && (a.suspect.Load() || now.UnixNano()-a.signedAt.Load() >= int64(signEvery)) && !a.rests(now)
}

// Claim reports whether the caller is to ask for the sign now. Then he calls Release when he has the answer; nobody else
// asks until then, or until it can come no more.
func (a *age) Claim(now time.Time) bool {
	since := a.asking.Load()
	return a.IsDue(now) && (since == 0 || now.UnixNano()-since > int64(askTimeout)) && a.asking.CompareAndSwap(since, now.UnixNano())
}

// Release ends what Claim began.
func (a *age) Release() { a.asking.Store(0) }

// rest has nothing asked for a while, and rests reports whether that is so.
func (a *age) rest()                    { a.restTill.Store(time.Now().Add(restAfterFault).UnixNano()) }
func (a *age) rests(now time.Time) bool { return now.UnixNano() < a.restTill.Load() }

// suspects notes that some of what is known does not hold any more.
func (a *age) suspects(some parts) {
	a.wrong |= some
	a.suspect.Store(true)
}

// added notes that something was added that was asked for at asked: a sign that came meanwhile was not of this.
func (a *age) added(asked time.Time) {
	a.snapshot = ""
	if at := asked.UnixNano(); at < a.signedAt.Load() {
		a.signedAt.Store(at)
	}
}

// derived notes that some was derived anew.
func (a *age) derived(some parts) {
	a.wrong &^= some
	a.suspect.Store(a.wrong != 0)
}

// derivedAt notes for when what was derived anew is right: everything, or some and the rest.
func (a *age) derivedAt(sent time.Time, some parts, restAt int64) {
	if some == everything {
		a.signedAt.Store(sent.UnixNano())
	} else {
		a.signedAt.Store(max(a.signedAt.Load(), restAt))
	}
}

// restWas notes that what is not wrong was right at sent.
func (a *age) restWas(sent time.Time) { a.restAt = sent.UnixNano() }

// right notes that all was right at sent, by snapshot, when so many had ridden.
func (a *age) right(sent time.Time, snapshot string, rode int64) {
	a.ridden.Store(rode)
	a.snapshot = snapshot
	a.signedAt.Store(sent.UnixNano())
}

// began notes that the first that is known was asked for at sent.
func (a *age) began(sent time.Time) { a.signedAt.CompareAndSwap(0, sent.UnixNano()) }

// turned notes that what was known has turned out to be wrong.
func (a *age) turned() { a.turns.Add(1) }

// unridden takes all who have ridden as those who rode while it was right, and returns how many of them did not.
func (a *age) unridden(rode int64) int64 { return rode - a.ridden.Swap(rode) }

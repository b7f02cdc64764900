package pool

import (
	"time"
)

// isFresh reports whether what is known was right a moment ago: a ride may be sent.
func (f *facts) isFresh(now time.Time) bool {
	return !f.suspect.Load() && now.UnixNano()-f.signedAt.Load() < int64(maxSignAge+f.slack())
}

// slack is 0, but in tests of what rides, on machines that are too busy to ask for the sign in time.
func (f *facts) slack() time.Duration {
	if f.of == nil {
		return 0
	}
	return f.of.slack
}

// rightAt is when what is known was right, for certain.
func (f *facts) rightAt() time.Time { return time.Unix(0, f.signedAt.Load()) }

// isDue reports whether it is time to ask for the sign again, or for what is not known to be right any more. As long as nothing
// is known there is nothing to ask for.
func (f *facts) isDue(now time.Time) bool {
	return f.signedAt.Load() != 0 && (f.suspect.Load() || now.UnixNano()-f.signedAt.Load() >= int64(signEvery)) && now.UnixNano() >= f.restTill.Load()
}

const (
	// maxSignAge is how old the last sign may be when a ride is sent, maxProofAge when its answer is read; signEvery is when the
	// next sign is asked for. So no answer that a change of the catalogs has made wrong comes more than a second after it.
	maxSignAge  = 800 * time.Millisecond
	maxProofAge = time.Second
	signEvery   = 400 * time.Millisecond

	// restAfterFault is how long nothing is asked after a question that could not be answered.
	restAfterFault = 500 * time.Millisecond
)

// rest has nothing asked for a while after err, and reports whether it does: a connection that was lost says nothing of the next.
func (f *facts) rest(err error) bool {
	if isLost(err) {
		return false
	}
	f.restTill.Store(time.Now().Add(restAfterFault).UnixNano())
	return true
}

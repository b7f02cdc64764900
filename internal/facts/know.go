package facts

import (
	"context"
	"time"

	"github.com/lmipool/lmipool/internal/sqltext"
)

// maxAsked is from how many names on nothing is added to a question.
const maxAsked = 200

// Know asks what is not known of what m mentions, and of types. With it goes what is not known of beside, since to ask about many costs
// little more than to ask about one. It reports whether all is known by then. An error is to be told: for a while nothing is asked then.
func (f *Facts) Know(ctx context.Context, ask Ask, m *sqltext.Mentions, types []uint32, beside func() []*sqltext.Mentions) (bool, error) {
	if f.rests(time.Now()) {
		return false, nil
	}
	for range maxBodies { // again for what the last answers have named: types, the bodies of functions
		w := wanted{}
		if w.add(f.missing(m, types)); w.isEmpty() {
			break
		}
		for _, other := range beside() {
			if len(w.names) < maxAsked {
				w.add(f.missing(other, nil))
			}
		}
		sent := time.Now()
		k, err := f.find(ctx, ask, w)
		if err != nil {
			if f.restAfter(err) {
				return false, err
			}
			return false, nil
		}
		f.learn(k, 0)
		f.began(sent)
	}
	return true, nil
}

// missing is what is not known yet of what a statement mentions, and of what the code of the user's own mentions that it leads to.
func (f *Facts) missing(m *sqltext.Mentions, types []uint32) wanted {
	f.mu.RLock()
	defer f.mu.RUnlock()
	all, _ := f.expandedLocked(m, types)
	w := f.missingLocked(all, types)
	if w.isEmpty() && f.refutedLocked(all, types) != "" {
		l := f.ledLocked(m, nil, types)
		w = f.missingLocked(&l.mentions, types)
	}
	return w
}

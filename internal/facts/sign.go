package facts

import (
	"cmp"
	"context"
	"maps"
	"math"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/lmipool/lmipool/internal/sqltext"
)

// Sign is one question for the sign of the facts as they were at one moment: AskSign with Args. It is asked every signEvery on a connection that is
// in use anyway: behind a flight's last statement, or when a connection comes back.
type Sign struct {
	Args [][]byte

	f            *Facts
	want         [3]int64 // the right sums, in the order of parts
	gen, learned uint64   // the facts' at that moment
	sent         time.Time
}

// IsFresh reports whether the last right sign is young enough for a ride to be sent.
func (f *Facts) IsFresh(now time.Time) bool {
	return !f.suspect.Load() && now.UnixNano()-f.signedAt.Load() < int64(maxSignAge+f.Slack)
}

// TooOld reports whether a ride's answer has to be dropped because it is read this long after the facts were right.
func (f *Facts) TooOld(since time.Duration) bool { return since > maxProofAge+f.Slack }

// Sign returns the question, which is sent at sent.
func (f *Facts) Sign(sent time.Time) *Sign {
	f.mu.RLock()
	defer f.mu.RUnlock()
	want := [3]int64{}
	var schemas, names, functions []string
	var relations, types []uint32
	for k, v := range f.names {
		schemas, names = append(schemas, k.Schema), append(names, k.Name.Name)
		want[0] += v.sign
	}
	seen := make(map[node]bool, len(f.nodes))
	for n, v := range f.nodes {
		if n.class != 't' {
			n.class = 'r' // reading, changing and inserting share a sign
		}
		if seen[n] {
			continue
		}
		seen[n] = true
		want[0] += v.sign
		if n.class == 't' {
			types = append(types, n.oid)
		} else {
			relations = append(relations, n.oid)
		}
	}
	for name, v := range f.functions {
		functions = append(functions, name)
		want[1] += v.sign
	}
	if f.global != nil {
		want[2] = f.global.sign
	}
	args := [][]byte{sqltext.TextArray(schemas), sqltext.TextArray(names), oidArray(relations), oidArray(types), sqltext.TextArray(functions), []byte(f.snapshot)}
	return &Sign{args, f, want, f.gen.Load(), f.learned, sent}
}

// Take takes the answer; nil: there was none, and lost is the error, if the connection was lost.
func (s *Sign) Take(row [][]byte, lost error) {
	f := s.f
	if row == nil {
		f.restAfter(lost)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gen.Load() != s.gen || len(row) != 1+len(s.want) {
		return // the facts are others by now
	}
	wrong := f.wrong
	for i, right := range s.want {
		if row[1+i] != nil {
			if got, ok := sumIn64(string(row[1+i])); !ok || got != right {
				wrong |= 1 << i
			}
		}
	}
	f.isWrong(wrong)
	switch {
	case wrong != 0:
		f.restAt = s.sent.UnixNano()
	case f.learned == s.learned: // else the sign does not cover what was added
		f.right(s.sent, quietSnapshot(string(row[0])), f.Rides())
	}
}

// sumIn64 is the sum s, of any size, modulo 2 to the 64.
func sumIn64(s string) (sum int64, ok bool) {
	n, ok := new(big.Int).SetString(s, 10)
	if !ok {
		return 0, false
	}
	return int64(n.And(n, new(big.Int).SetUint64(math.MaxUint64)).Uint64()), true
}

// quietSnapshot returns snapshot if no transaction ran in it: then nothing was committed since, as long as the snapshot is the same.
func quietSnapshot(snapshot string) string {
	from, rest, _ := strings.Cut(snapshot, ":")
	if to, running, _ := strings.Cut(rest, ":"); from != to || running != "" {
		return ""
	}
	return snapshot
}

// restAfter has nothing asked for a while after err, and reports whether it does. It does not if the connection was lost: the next one may answer.
func (f *Facts) restAfter(err error) bool {
	if f.Lost(err) {
		return false
	}
	f.restTill.Store(time.Now().Add(restAfterFault).UnixNano())
	return true
}

// Check asks for the sign if that is due, and derives the facts anew if it is not right. It reports whether the facts are not known to be wrong.
func (f *Facts) Check(ctx context.Context, ask Ask) (held bool) {
	if !f.Claim(time.Now()) {
		return true
	}
	defer f.Release()
	if !f.IsSuspect() {
		s := f.Sign(time.Now())
		rows, err := ask(ctx, "", AskSign, s.Args)
		if err != nil || len(rows) != 1 {
			s.Take(nil, cmp.Or(err, errNoAnswer))
			return false
		}
		s.Take(rows[0], nil)
		if !f.IsSuspect() {
			return true
		}
	}
	f.deriveAnew(ctx, ask)
	return false
}

// deriveAnew asks once more for the parts that are wrong. The caller has claimed the sign.
func (f *Facts) deriveAnew(ctx context.Context, ask Ask) {
	f.mu.RLock()
	anew, restAt := f.wrong, f.restAt
	for _, k := range f.functions {
		if k.atomic && anew&ofNames != 0 { // something that its body mentions may have been renamed
			anew |= ofFunctions
		}
	}
	f.mu.RUnlock()
	sent := time.Now()
	k, err := f.find(ctx, ask, f.all(anew))
	if err == nil && anew != everything && f.otherwise(k) {
		anew = everything
		k, err = f.find(ctx, ask, f.all(anew))
	}
	if err != nil { // forget everything: it may be wrong
		f.restAfter(err)
		k, anew = &known{asked: sent}, everything
	}
	f.turns.Add(1)
	f.learn(k, anew)
	switch {
	case err != nil:
	case anew == everything:
		f.signedAt.Store(sent.UnixNano())
	default: // the other parts were right at restAt
		f.signedAt.Store(max(f.signedAt.Load(), restAt))
	}
	f.Changes.Add(1)
	rode := f.Rides()
	f.Unconfirmed.Add(rode - f.ridden.Swap(rode))
}

// all is a question for all that is known of some parts.
func (f *Facts) all(some parts) (w wanted) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	w.global = some&ofGlobal != 0 && f.global != nil
	if some&ofFunctions != 0 {
		w.functions = slices.Collect(maps.Keys(f.functions))
	}
	if some&ofNames != 0 {
		w.names = slices.Collect(maps.Keys(f.names))
		for n := range f.nodes {
			if n.class == 't' {
				w.types = append(w.types, n.oid)
			}
		}
	}
	return w
}

// otherwise reports whether in k a name means other functions than before, as after a rename, or functions that have joined or left an extension.
// Then the facts about names and operators that call them may be wrong too.
func (f *Facts) otherwise(k *known) bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for name, is := range k.functions {
		if was := f.functions[name]; was != nil && (was.oids != is.oids || was.extension != is.extension) {
			return true
		}
	}
	return false
}

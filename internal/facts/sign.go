package facts

import (
	"cmp"
	"context"
	"math"
	"math/big"
	"strings"
	"time"

	"github.com/lmipool/lmipool/internal/sqltext"
)

// The sign of the facts: is what they were derived from still in the catalogs? PostgreSQL tells nobody that something
// was created or altered. So the rows that the facts were derived from are summed up, by the transactions that wrote them,
// and while the sum is the same the facts hold. It is asked for on a connection that is there anyway: behind the last
// statement of a flight, or when a connection comes back, every signEvery while there is something to judge. It needs no
// statistics (track_counts) and works on a standby. If nothing at all was committed since the last time, the snapshot says so,
// and nothing is summed up.

// Sign is one question for the sign of what was known at some moment: AskSign with Args.
type Sign struct {
	Args [][]byte

	f            *Facts
	want         sums   // that are right
	gen, learned uint64 // of what was known
	sent         time.Time
}

// sums are the signs of the parts of the facts, in their order.
type sums [3]int64

// Sign is the question to send at sent.
func (f *Facts) Sign(sent time.Time) *Sign {
	f.mu.RLock()
	defer f.mu.RUnlock()
	want := sums{}
	var schemas, names, functions []string
	var relations, types []uint32
	for k, v := range f.names {
		schemas, names = append(schemas, k.Schema), append(names, k.Name.Name)
		want[0] += v.sign
	}
	seen := make(map[node]bool, len(f.nodes))
	for n, v := range f.nodes {
		if n.class != 't' {
			n.class = 'r'
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

// Take takes the answer; nil: there was none, because of lost, if the connection was.
func (s *Sign) Take(row [][]byte, lost error) {
	f := s.f
	if row == nil {
		f.restAfter(lost)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gen.Load() != s.gen || len(row) != 1+len(s.want) {
		return // it is of what was known before
	}
	for i, right := range s.want {
		if row[1+i] != nil {
			if got, ok := sumIn64(string(row[1+i])); !ok || got != right {
				f.suspects(1 << i)
			}
		}
	}
	if f.wrong != 0 {
		f.restWas(s.sent)
		return
	}
	if f.learned != s.learned { // what has been added is not in it
		return
	}
	f.right(s.sent, quietSnapshot(string(row[0])), f.Rides())
}

// sumIn64 is a sum of any size as it is when it is added up in 64 bits.
func sumIn64(s string) (sum int64, ok bool) {
	n, ok := new(big.Int).SetString(s, 10)
	if !ok {
		return 0, false
	}
	return int64(n.And(n, new(big.Int).SetUint64(math.MaxUint64)).Uint64()), true
}

// quietSnapshot returns snapshot if nothing was under way in it: then nothing can have been committed as long as it is the same.
func quietSnapshot(snapshot string) string {
	from, rest, _ := strings.Cut(snapshot, ":")
	to, running, _ := strings.Cut(rest, ":")
	if from != to || running != "" {
		return ""
	}
	return snapshot
}

// restAfter has nothing asked for a while after err, and reports whether it does: a connection that was lost says nothing of the next.
func (f *Facts) restAfter(err error) bool {
	if f.Lost(err) {
		return false
	}
	f.rest()
	return true
}

// Check asks for the sign, if it is due, and, if it is not right, derives the facts anew. It reports whether what was known has held until now.
func (f *Facts) Check(ctx context.Context, ask Ask) (held bool) {
	if !f.Claim(time.Now()) {
		return true
	}
	defer f.Release()
	if !f.IsSuspect() {
		s := f.Sign(time.Now())
		row, err := s.ask(ctx, ask)
		if s.Take(row, err); err != nil {
			return false
		}
		if !f.IsSuspect() {
			return true
		}
	}
	f.deriveAnew(ctx, ask)
	return false
}

// ask asks for it now.
func (s *Sign) ask(ctx context.Context, ask Ask) (row [][]byte, err error) {
	rows, err := ask(ctx, "", AskSign, s.Args)
	if err != nil || len(rows) != 1 {
		return nil, cmp.Or(err, errNoAnswer)
	}
	return rows[0], nil
}

// deriveAnew finds out once more what does not hold any more. The caller has claimed the sign.
func (f *Facts) deriveAnew(ctx context.Context, ask Ask) {
	f.mu.RLock()
	anew, restAt := f.wrong, f.restAt
	for _, k := range f.functions {
		if k.atomic && anew&ofNames != 0 { // something that its body mentions may have another name
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
	if err != nil { // rather nothing than what may be wrong
		f.restAfter(err)
		k, anew = &known{asked: sent}, everything
	}
	f.turned()
	f.learn(k, anew)
	if err == nil {
		f.derivedAt(sent, anew, restAt)
	}
	f.changes.Add(1)
	f.unconfirmed.Add(f.unridden(f.Rides()))
}

// otherwise reports whether a name means other functions by now, as after a rename, or they belong to an extension, or do not any more: then
// what was found out about names and operators that call them is no more right either.
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

package pool

import (
	"cmp"
	"context"
	"math"
	"math/big"
	"time"
)

// The sign of the facts: is what they were derived from still in the catalogs? PostgreSQL tells nobody that something
// was created or altered. So the rows that the facts were derived from are summed up, by the transactions that wrote them,
// and while the sum is the same the facts hold. It is asked for on a connection that is there anyway: behind the last
// statement of a flight, or when a connection comes back, every signEvery while there is something to judge. It needs no
// statistics (track_counts) and works on a standby. If nothing at all was committed since the last time, the snapshot says so,
// and nothing is summed up.

// sums are the signs of the parts of the facts, in their order.
type sums [3]int64

// signArgs are the arguments of askSign, the sums that are right, and what they are of.
func (f *facts) signArgs() (args [][]byte, want sums, of signOf) {
	f.mu.RLock()
	defer f.mu.RUnlock()
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
	return [][]byte{textArray(schemas), textArray(names), oidArray(relations), oidArray(types), textArray(functions), []byte(f.snapshot)}, want, signOf{f.gen.Load(), f.learned}
}

// signOf says what a sign is of: what was known at some moment.
type signOf struct{ gen, learned uint64 }

// signed takes the answer to askSign, which was sent at sent.
func (f *facts) signed(row [][]byte, want sums, of signOf, sent time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gen.Load() != of.gen || len(row) != 1+len(want) {
		return // it is of what was known before
	}
	for i, right := range want {
		if row[1+i] != nil {
			if got, ok := sumIn64(string(row[1+i])); !ok || got != right {
				f.suspects(1 << i)
			}
		}
	}
	if f.wrong != 0 {
		f.restAt = sent.UnixNano()
		return
	}
	if f.learned != of.learned { // what has been added is not in it
		return
	}
	f.ridden.Store(f.of.rides.Load())
	f.snapshot = quietSnapshot(string(row[0]))
	f.signedAt.Store(sent.UnixNano())
}

// sumIn64 is a sum of any size as it is when it is added up in 64 bits.
func sumIn64(s string) (sum int64, ok bool) {
	n, ok := new(big.Int).SetString(s, 10)
	if !ok {
		return 0, false
	}
	return int64(n.And(n, new(big.Int).SetUint64(math.MaxUint64)).Uint64()), true
}

// claimSign reports whether the caller is to ask for the sign now. Then he says askedFor when he has the answer; nobody else
// asks until then, or until it can come no more.
func (f *facts) claimSign(now time.Time) bool {
	since := f.asking.Load()
	return f.isDue(now) && (since == 0 || now.UnixNano()-since > int64(askTimeout)) && f.asking.CompareAndSwap(since, now.UnixNano())
}

// askedFor ends what claimSign began.
func (f *facts) askedFor() { f.asking.Store(0) }

// check asks for the sign and, if it is not right, derives the facts anew, on a connection that nobody else uses just now and
// whose session is clean. It reports whether what was known has held until now.
func (c *conn) check(ctx context.Context) (held bool) {
	f := c.base
	if f == nil || !f.claimSign(time.Now()) {
		return true
	}
	defer f.askedFor()
	if !f.suspect.Load() {
		args, want, of := f.signArgs()
		sent := time.Now()
		row, err := c.signNow(ctx, args)
		if err != nil {
			f.rest(err)
			return false
		}
		f.signed(row, want, of, sent)
		if !f.suspect.Load() {
			return true
		}
	}
	c.deriveAnew(ctx)
	return false
}

// signNow asks for the sign.
func (c *conn) signNow(ctx context.Context, args [][]byte) (row [][]byte, err error) {
	rows, err := c.answers(ctx, "", askSign, args)
	if err != nil || len(rows) != 1 {
		return nil, cmp.Or(err, errNoAnswer)
	}
	return rows[0], nil
}

// deriveAnew finds out once more what does not hold any more. The caller has claimed the sign.
func (c *conn) deriveAnew(ctx context.Context) {
	f := c.base
	f.mu.RLock()
	anew, restAt := f.wrong, f.restAt
	for _, k := range f.functions {
		if k.atomic && anew&ofNames != 0 { // something that its body mentions may have another name
			anew |= ofFunctions
		}
	}
	f.mu.RUnlock()
	sent := time.Now()
	k, err := c.findOut(ctx, f.all(anew))
	if err == nil && anew != everything && f.otherwise(k) {
		anew = everything
		k, err = c.findOut(ctx, f.all(anew))
	}
	if err != nil { // rather nothing than what may be wrong
		f.rest(err)
		k, anew = &known{asked: sent}, everything
	}
	f.turns.Add(1)
	f.learn(k, anew)
	switch {
	case err != nil:
	case anew == everything:
		f.signedAt.Store(sent.UnixNano())
	default:
		f.signedAt.Store(max(f.signedAt.Load(), restAt))
	}
	f.of.changes.Add(1)
	rode := f.of.rides.Load()
	f.of.unconfirmed.Add(rode - f.ridden.Swap(rode))
}

// otherwise reports whether a name means other functions by now, as after a rename, or they belong to an extension, or do not any more: then
// what was found out about names and operators that call them is no more right either.
func (f *facts) otherwise(k *known) bool {
	f.mu.RLock()
	defer f.mu.RUnlock()
	for name, is := range k.functions {
		if was := f.functions[name]; was != nil && (was.oids != is.oids || was.extension != is.extension) {
			return true
		}
	}
	return false
}

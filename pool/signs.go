package pool

import (
	"cmp"
	"context"
	"math"
	"math/big"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// The sign of the facts: is what they were derived from still in the catalogs? PostgreSQL tells nobody that something
// was created or altered. So the rows that the facts were derived from are summed up, by the transactions that wrote them,
// and while the sum is the same the facts hold. It is asked for on a connection that is there anyway: behind the last
// statement of a flight, or when a connection comes back, every signEvery while there is something to judge. It needs no
// statistics (track_counts) and works on a standby. If nothing at all was committed since the last time, the snapshot says so,
// and nothing is summed up.

// signArgs are the arguments of askSign, the sum that is right, and what it is of.
func (f *facts) signArgs() (args [][]byte, want int64, of signOf) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	var schemas, names, functions []string
	var relations, types []uint32
	for k, v := range f.names {
		schemas, names = append(schemas, k.Schema), append(names, k.Name.Name)
		want += v.sign
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
		want += v.sign
		if n.class == 't' {
			types = append(types, n.oid)
		} else {
			relations = append(relations, n.oid)
		}
	}
	for name, v := range f.functions {
		functions = append(functions, name)
		want += v.sign
	}
	if f.global != nil {
		want += f.global.sign
	}
	return [][]byte{textArray(schemas), textArray(names), oidArray(relations), oidArray(types), textArray(functions), []byte(f.snapshot)}, want, signOf{f.gen.Load(), f.learned}
}

// signOf says what a sign is of: what was known at some moment.
type signOf struct{ gen, learned uint64 }

// signed takes the answer to askSign, which was sent at sent.
func (f *facts) signed(row [][]byte, want int64, of signOf, sent time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gen.Load() != of.gen || len(row) != 2 {
		return // it is of what was known before
	}
	if row[1] != nil {
		if got, ok := sumIn64(string(row[1])); !ok || got != want {
			f.suspect.Store(true)
			return
		}
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

// signNow asks for the sign. To plan the question costs more than to answer it, so it stays prepared.
func (c *conn) signNow(ctx context.Context, args [][]byte) (row [][]byte, err error) {
	first := func(answer any) error {
		rr, ok := answer.(*pgconn.ResultReader)
		if !ok {
			return errNoAnswer
		}
		r := rr.Read()
		if r.Err == nil && len(r.Rows) == 1 {
			row = r.Rows[0]
			return nil
		}
		return cmp.Or(r.Err, errNoAnswer)
	}
	if c.lane == nil || c.lane.unnamed {
		err = c.behindLook(ctx, 1, func(pl *pgconn.Pipeline) { pl.SendQueryParams(askSign, args, nil, nil, nil) }, first)
		return row, err
	}
	s, steps := c.lane.find(askSign, signFields), 1
	if !s.sent {
		steps = 3
	}
	err = c.behindLook(ctx, steps, func(pl *pgconn.Pipeline) {
		if !s.sent {
			pl.SendDeallocate(s.name) // no error if it is not there
			pl.SendPrepare(s.name, askSign, nil)
		}
		pl.SendQueryStatement(s.sd, args, nil, nil)
	}, first)
	if s.sent = err == nil; !s.sent {
		c.lane.forget(s)
	}
	return row, err
}

// deriveAnew finds out once more all that is known. The caller has claimed the sign.
func (c *conn) deriveAnew(ctx context.Context) {
	f := c.base
	sent := time.Now()
	k, err := c.findOut(ctx, f.all())
	if err != nil { // rather nothing than what may be wrong
		f.rest(err)
		k = &known{asked: sent}
	}
	f.turns.Add(1)
	f.suspect.Store(false)
	f.learn(k, true)
	if err == nil {
		f.signedAt.Store(sent.UnixNano())
	}
	f.of.changes.Add(1)
	rode := f.of.rides.Load()
	f.of.unconfirmed.Add(rode - f.ridden.Swap(rode))
}

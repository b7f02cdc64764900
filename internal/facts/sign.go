package facts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/internal/sqltext"
)

// Sign is one question to the server whether the facts of one moment still hold: the query AskSign with the arguments Args. It is sent every signEvery
// on a connection that is in use anyway: behind a flight's last statement, or when a connection comes back.
type Sign struct {
	Args [][]byte

	f            *Facts
	want         int64  // the sum of the signs of all facts
	gen, learned uint64 // the generation of the facts, and how often something was added, when the question was made
	sent         time.Time
}

// IsFresh reports whether the last right sign is young enough for a ride to be sent.
func (f *Facts) IsFresh(now time.Time) bool {
	return !f.suspect.Load() && passed(f.RightAt(), now) < maxSignAge+f.Slack
}

// TooOld reports whether a ride's answer, which was read at that time, has to be dropped because the facts were last known to be right at right.
func (f *Facts) TooOld(right, read time.Time) bool { return passed(right, read) > maxProofAge+f.Slack }

// Sign returns the question about all facts that are known now. sent is when the caller sends it.
func (f *Facts) Sign(sent time.Time) *Sign {
	f.mu.RLock()
	defer f.mu.RUnlock()
	var want int64
	var schemas, names, functions []string
	var relations, types []uint32
	for k, v := range f.names {
		schemas, names = append(schemas, k.Schema), append(names, k.Name.Name)
		want += v.sign
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
	args := [][]byte{sqltext.TextArray(schemas), sqltext.TextArray(names), oidArray(relations), oidArray(types), sqltext.TextArray(functions)}
	return &Sign{args, f, want, f.gen.Load(), f.learned, sent}
}

// Take takes the server's answer, and reports whether the facts that the question was about still hold. If row is nil, there was no answer, and lost is
// the error, if there was one.
func (s *Sign) Take(row [][]byte, lost error) (hold bool) {
	f := s.f
	if row == nil {
		f.restAfter(lost)
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gen.Load() != s.gen || len(row) != 1 {
		return false // all facts were replaced meanwhile
	}
	got, err := sumIn64(string(row[0]))
	if hold = err == nil && got == s.want; !hold {
		f.suspect.Store(true)
	}
	if !f.suspect.Load() && f.learned == s.learned { // otherwise the sign does not cover the facts that were added meanwhile
		f.ridden.Store(f.Rides())
		sent := s.sent
		f.signedAt.Store(&sent)
	}
	return hold
}

// Confirm asks whether the facts still hold by which p was judged, and so held ever since. It asks though the sign is not due.
func (p Proven) Confirm(ctx context.Context, ask Ask) bool {
	s := p.facts.Sign(time.Now())
	rows, err := ask(ctx, AskSign(), s.Args...)
	return err == nil && len(rows) == 1 && s.gen == p.gen && s.Take(rows[0], nil)
}

// sumIn64 returns the decimal number s, which may have any size, modulo 2 to the 64. want overflows in the same way.
func sumIn64(s string) (int64, error) {
	n, ok := new(big.Int).SetString(s, 10)
	if !ok {
		return 0, fmt.Errorf("lmipool: the sign %q is not a number", s)
	}
	return int64(n.And(n, new(big.Int).SetUint64(math.MaxUint64)).Uint64()), nil
}

// restAfter makes sure that no question is asked for a while after err, and returns true. If err says that the connection was lost, or that a caller
// waits, it only returns false, since the next connection may answer.
func (f *Facts) restAfter(err error) bool {
	if errors.Is(err, errYielded) || f.Lost(err) {
		return false
	}
	now := time.Now()
	f.resting.Store(&now)
	return true
}

// Check asks for the sign if that is due. If the sign is not right, it asks again for all facts. It returns false if the facts may have been wrong.
func (f *Facts) Check(ctx context.Context, ask Ask) (held bool) {
	if !f.Claim(time.Now()) {
		return true
	}
	defer f.Release()
	if !f.IsSuspect() {
		s := f.Sign(time.Now())
		rows, err := ask(ctx, AskSign(), s.Args...)
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

// deriveAnew replaces all facts by what the server says now about the same names. The caller has claimed the sign.
func (f *Facts) deriveAnew(ctx context.Context, ask Ask) {
	sent := time.Now()
	k, err := find(ctx, ask, f.all())
	if err != nil { // then all facts are forgotten
		f.restAfter(err)
		k = &known{asked: sent}
	}
	f.turns.Add(1)
	if f.learn(k, true); err == nil {
		f.signedAt.Store(&sent)
	}
	f.Changes.Add(1)
	rode := f.Rides()
	f.Unconfirmed.Add(rode - f.ridden.Swap(rode))
}

// all lists everything that is known, to ask for it again.
func (f *Facts) all() wanted {
	f.mu.RLock()
	defer f.mu.RUnlock()
	w := wanted{global: f.global != nil, functions: slices.Collect(maps.Keys(f.functions)), names: slices.Collect(maps.Keys(f.names))}
	for n := range f.nodes {
		if n.class == 't' {
			w.types = append(w.types, n.oid)
		}
	}
	return w
}

// Ask sends one of this package's questions to the server, and returns the rows in text format. Nobody else may use the connection meanwhile, and its
// session must be clean. [Asker.Answers] is an Ask.
type Ask func(ctx context.Context, sql string, args ...[]byte) (rows [][][]byte, err error)

// byIndex makes the planner use indexes for the rest of the transaction, instead of reading whole catalogs.
const byIndex = `select pg_catalog.set_config('enable_seqscan', 'off', true), pg_catalog.set_config('enable_hashjoin', 'off', true),` +
	` pg_catalog.set_config('enable_mergejoin', 'off', true)`

// Asker asks questions on a connection, each in one exchange with the guard in front.
type Asker struct {
	PG    *pgconn.PgConn
	Guard string // a query that makes the transaction read-only and sets short timeouts
	Kept  Kept   // nil if questions are not prepared, as behind a pooler

	Yields  func() bool // reports that a caller waits for the connection, so that no further question is asked; nil if all are asked
	yielded bool
}

// MustYield reports whether a caller waits, or has waited before another question, so that no question is asked any more.
func (a *Asker) MustYield() bool {
	a.yielded = a.yielded || a.Yields != nil && a.Yields()
	return a.yielded
}

// HasYielded reports whether a question was not asked because a caller waited.
func (a *Asker) HasYielded() bool { return a.yielded }

// Kept holds the questions that a connection keeps prepared, because planning a question costs more than answering it. Question returns the statement
// for a question. If there is false, the caller has to prepare the statement under its name. Asked notes whether the question is prepared now.
type Kept interface {
	Question(sql string) (sd *pgconn.StatementDescription, there bool)
	Asked(sql string, there bool)
}

// errYielded is returned instead of an answer where a question was not asked because of Asker.Yields.
var errYielded = errors.New("lmipool: a caller waits for the connection")

var errNoAnswer = errors.New("lmipool: no answer to what the catalogs say")

// Answers is an [Ask].
func (a *Asker) Answers(ctx context.Context, sql string, args ...[]byte) (rows [][][]byte, err error) {
	if a.MustYield() {
		return nil, errYielded
	}
	var sd *pgconn.StatementDescription
	there := false
	if a.Kept != nil {
		sd, there = a.Kept.Question(sql)
	}
	rows, _, err = a.exchange(ctx, func(pl *pgconn.Pipeline) {
		if len(args) > 0 { // the question is about some names, not about the whole database
			pl.SendQueryParams(byIndex, nil, nil, nil, nil)
		}
		if sd == nil {
			pl.SendQueryParams(sql, args, nil, nil, nil) // the casts in sql give the types of args
			return
		}
		if !there {
			pl.SendDeallocate(sd.Name) // if the name does not exist, the server returns no error
			pl.SendPrepare(sd.Name, sql, nil)
		}
		pl.SendQueryStatement(sd, args, nil, nil)
	})
	if sd != nil {
		a.Kept.Asked(sql, err == nil)
	}
	return rows, err
}

// Describe asks the server for sql's parameters and columns. Parsing waits for locks, just as running sql does.
func (a *Asker) Describe(ctx context.Context, sql string) (*pgconn.StatementDescription, error) {
	_, sd, err := a.exchange(ctx, func(pl *pgconn.Pipeline) { pl.SendPrepare("", sql, nil) })
	if sd == nil {
		return nil, cmp.Or(err, errNoAnswer)
	}
	sd.SQL = sql
	return sd, err
}

// exchange sends the guard and then what send sends. It returns the last rows and the last description in the answer.
func (a *Asker) exchange(ctx context.Context, send func(*pgconn.Pipeline)) (rows [][][]byte, sd *pgconn.StatementDescription, err error) {
	pl := a.PG.StartPipeline(ctx)
	pl.SendQueryParams(a.Guard, nil, nil, nil, nil)
	send(pl)
	err = pl.Sync()
	for over := false; err == nil && !over; {
		var answer any
		answer, err = pl.GetResults()
		switch v := answer.(type) {
		case *pgconn.ResultReader:
			r := v.Read()
			rows, err = r.Rows, r.Err
		case *pgconn.StatementDescription:
			sd = v
		case nil, *pgconn.PipelineSync:
			over = true
		}
	}
	if closing := pl.Close(); err == nil {
		err = closing
	}
	return rows, sd, err
}

package pool

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/facts"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/pgwire"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// Isolation says what the pool does about what invocations leave behind in a session:
// settings, roles, temporary tables, channels, advisory locks, cursors, statements
// prepared in SQL, the values of sequences.
type Isolation string

// The modes. The zero value means IsolationAuto.
const (
	// IsolationAuto resets a session, before its next user's first statement runs, unless
	// nothing was left behind. Nothing is, for certain, by reads and writes that call
	// only what is known to leave nothing, by their text and by what their names lead to, on tables
	// without triggers; and by transaction control. What is not known, a function of the
	// user's say, counts as having left something. A reset costs the next user
	// 120 to 270 µs and no round trip; prepared statements and what AfterConnect has set stay.
	IsolationAuto Isolation = "auto"
	// IsolationOff resets nothing, as pgxpool does.
	IsolationOff Isolation = "off"
)

// residue is what the users of a connection have left behind since it was reset.
type residue struct {
	trace  sqltext.Trace
	parsed []string             // texts that pgx must not keep
	unsure []*catalog.Statement // whose names are not known yet
	plans  bool                 // what the server has planned may have a meaning that is not a clean session's
	lost   bool                 // there are more than parsed has
	named  bool                 // statements may have been prepared under names of the user's
	used   bool                 // something was sent
	odd    bool                 // the server reports other settings, and nobody is known to have changed any

	drew     foreign              // whose values of sequences there are
	unsteady []*catalog.Statement // of which it is not known yet whether they draw from the same sequences each time
	moved    bool                 // a setting has changed, so the same text may mean other sequences
}

// maxUnsure is how many statements of one lease are looked at after it.
const maxUnsure = 4

// note notes what a statement is going to leave behind, and what it does to the meaning of later
// texts, which counts where nothing is reset too. It runs between enter and leave.
func (l *Lease) note(ctx context.Context, sql string, args []any) {
	l.c.given = pgerr.Arguments{Args: args}
	st := l.st
	if st == nil {
		var ok bool
		sql, ok = textOf(ctx, sql, args)
		if !ok || !l.with.custom() || len(sql) > catalog.MaxText {
			l.c.runs(!ok || sqltext.CommitsOnItsWay(sql))
			l.noteAny()
			l.changes(sqltext.MayChangeMeaning, true)
			return
		}
		st = l.p.lanes.catalog.Find(sql, l.with.key())
	}
	l.c.runs(st.Commits)
	if text, ok := l.c.meantBy(sql); !ok {
		l.noteAny()
		l.changes(sqltext.KeepsMeaning, true)
		return
	} else if text != sql {
		st = l.p.lanes.catalog.Find(text, l.with.key())
	}
	leaves := st.Leaves(l.c.base)
	trace := leaves.Trace
	if l.c.isolates() {
		if st.Asks && l.meaning != meansSame { // its names may lead to others than those that were judged
			leaves.Trace, leaves.Plans = max(trace, sqltext.AnyTrace), true
		}
		l.residue.trace = max(l.residue.trace, leaves.Trace)
		l.residue.plans = l.residue.plans || leaves.Trace >= sqltext.AnyTrace && leaves.Plans
		l.heedSequences(leaves, st)
	}
	l.changes(st.Meaning, trace >= sqltext.SessionTrace && (trace > st.Trace || trace >= sqltext.AnyTrace && st.IsPlain))
	if leaves.Ask && l.c.base != nil && len(l.residue.unsure) < maxUnsure {
		l.residue.unsure = append(l.residue.unsure, st)
	}
}

// noteAny notes what nobody knows.
func (l *Lease) noteAny() {
	if !l.c.isolates() {
		return
	}
	l.residue.trace, l.residue.plans = max(l.residue.trace, sqltext.AnyTrace), true
	l.heedSequences(catalog.Leaves{Trace: sqltext.AnyTrace}, nil)
}

// noteBatch notes what the statements of a batch are going to leave behind.
func (l *Lease) noteBatch(ctx context.Context, b *pgx.Batch) {
	for _, q := range b.QueuedQueries {
		l.note(ctx, q.SQL, q.Arguments)
	}
	l.c.given = pgerr.Arguments{Batch: b.QueuedQueries}
}

// soiled notes on the connection what its user has left behind.
func (c *conn) soiled(l residue) {
	c.forgetDescribedNow()
	c.residue.unsure = append(c.residue.unsure, l.unsure...)
	c.residue.parsed, c.residue.lost = append(c.residue.parsed, l.parsed...), c.residue.lost || l.lost
	c.residue.unsteady, c.residue.used = l.unsteady, c.residue.used || l.used
	strayed := c.wire.Strayed()
	if !c.isolates() {
		return
	}
	c.residue.trace = max(c.residue.trace, l.trace)
	if strayed { // a tracer's, say: nobody knows what it did, nor what was parsed after it
		c.residue.trace = sqltext.LastingTrace
	}
	c.residue.named, c.residue.plans = c.residue.named || l.named, c.residue.plans || l.plans
	if l.used && c.differs() {
		c.residue.odd = c.residue.trace < sqltext.SessionTrace
		c.residue.trace, c.residue.plans = max(c.residue.trace, sqltext.AnyTrace), true // whoever did that, in a way that nobody could foresee
	}
	c.foreign.failed() // of its last statement nobody has said how it went
	c.foreign.add(l.drew.by...)
	if c.residue.trace >= sqltext.AnyTrace {
		c.foreign.add(anybody)
	}
}

// heed runs a hook that gets the connection. What it sends may leave anything behind, as
// what a user with the raw connection sends. changed: texts may mean something else after it.
func (c *conn) heed(hook func()) (changed bool) {
	c.unarm()
	before, armed, values := c.wire.Sent(), c.wire.Save(), c.foreign
	c.hideForeign()
	c.watching()
	defer func() { changed = c.watched(&c.residue) }()
	hook()
	switch {
	case c.wire.Sent() == before:
		c.wire.Restore(armed)
		c.foreign = values
	case c.isolates():
		c.residue.trace, c.residue.named = max(c.residue.trace, sqltext.AnyTrace), true
		c.foreign.add(anybody)
	}
	return changed
}

// unarm sends what is to go in front of the next flight, and does not wait for the answer, since that flight may be
// one that the wire does not see. If it cannot be written, nothing else can.
func (c *conn) unarm() {
	if pc := c.pg.PgConn(); !pc.IsClosed() && !pc.IsBusy() {
		_ = c.wire.Flush()
	}
}

// handOn gives c, which is in no transaction, to the next user. A reset that is due goes in
// front of his first flight; it goes by itself, in the background, if nobody comes soon, or
// if there is more to do than that.
func (c *conn) handOn(now time.Time) {
	l := c.residue
	c.residue = residue{}
	if !c.isolates() { // no more
		l.trace, l.named = sqltext.NoTrace, false
	}
	if !c.own() && (l.trace > sqltext.NoTrace || c.foreign.any()) && c.isolates() {
		c.discard(l)
		return
	}
	if c.foreign.any() && c.session.draws { // they cannot be told from those of AfterConnect's
		c.unclean()
		return
	}
	if l.lost {
		c.unclean()
		return
	}
	if l.trace <= sqltext.SequenceTrace {
		c.belief.Note(c.base)
		if len(l.parsed) > 0 || len(l.unsure) > 0 || len(l.unsteady) > 0 || c.wonders(now) || c.base != nil && c.base.IsDue(now) {
			c.wash(l)
		} else {
			c.p.adm.put(c, now)
		}
		return
	}
	if l.trace == sqltext.PreparedTrace {
		l.trace = sqltext.AnyTrace
		if len(c.session.prepared) > 0 { // under the name of one there may be another now, or none
			l.trace = sqltext.LastingTrace
		}
	}
	if l.trace == sqltext.AnyTrace && !c.session.deallocates {
		l.named = true
	}
	trace := l.trace
	if l.named && trace == sqltext.AnyTrace {
		trace = sqltext.SessionTrace // of statements by name pgx has to hear, too: see dropNamed
	}
	if !c.resetNext(trace, l.plans) {
		if c.session.lasting {
			c.p.closesBecause("AfterConnect leaves what no reset keeps: it listens, or holds an advisory lock, something temporary or a cursor",
				"do that on a connection of its own")
		}
		c.unclean()
		return
	}
	l.unsure = append(l.unsure, c.untold()...)
	if l.odd || // the server's configuration may have changed, which no reset takes back: then the session is closed
		c.base != nil && c.base.IsDue(now) || // or nobody would ask, where each user leaves something
		l.named || len(l.parsed) > 0 || len(l.unsure) > 0 || len(l.unsteady) > 0 || c.pg.PgConn().Frontend().ReadBufferLen() > 0 { // of which pgx has heard nothing yet
		c.wash(l)
		return
	}
	c.p.adm.put(c, now)
}

// resetNext has c reset in front of its next flight. It reports false if that is not possible.
func (c *conn) resetNext(trace sqltext.Trace, plans bool) bool {
	sql, err := c.session.reset(trace, plans, c.pg.PgConn())
	if err != nil {
		return false
	}
	if plans {
		c.belief = facts.Belief{}
	} else { // that none are to be dropped is by the facts
		c.belief.Note(c.base)
	}
	c.wire.Queue(pgwire.Try(failClosed))
	c.wire.Queue(pgwire.Query(sql))
	c.p.stats.resets.Add(1)
	c.unhear()
	return true
}

// unclean closes a connection whose session cannot be cleaned.
func (c *conn) unclean() {
	c.p.stats.unclean.Add(1)
	c.retire()
}

// joinWithin is how long a reset waits on an idle connection for a flight that it can join:
// somebody whose statements follow each other would otherwise wait for it each time. Then
// it is sent, and what was left in the session is there no longer.
const joinWithin = 2 * time.Millisecond

// waitLocked has c, which has just become idle and has a reset to send, wait for company.
// It is the last to be used: whoever finds a clean one need not bring it.
func (a *admission) waitLocked(c *conn) {
	n := len(a.idle) - 1
	copy(a.idle[1:], a.idle[:n])
	a.idle[0] = c
	if c.waited == nil {
		c.waited = time.AfterFunc(joinWithin, c.waitedEnough)
	} else {
		c.waited.Reset(joinWithin)
	}
}

// waitedEnough has c send its reset by itself, if it still has one and nobody to join.
func (c *conn) waitedEnough() {
	a := c.p.adm
	a.mu.Lock()
	i := slices.Index(a.idle, c)
	due := i >= 0 && c.wire.Queued()
	if due {
		if more := joinWithin - a.now().Sub(c.since); more > 0 { // it was in use meanwhile
			c.waited.Reset(more)
			due = false
		} else {
			a.idle = slices.Delete(a.idle, i, i+1)
		}
	}
	a.mu.Unlock()
	if due {
		c.wash(residue{trace: sqltext.AnyTrace})
	}
}

// unhear drops the notifications that pgx keeps for whoever waits for some.
func (c *conn) unhear() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // so only for what is there already
	for {
		if n, _ := c.pg.WaitForNotification(ctx); n == nil {
			return
		}
	}
}

// wash sends the reset that is due and waits for the answer, in the background, and does
// what must not be done in a session that is not clean.
func (c *conn) wash(l residue) {
	c.p.adm.retain(c)
	c.p.adm.washes(1)
	c.p.background("reset", func() {
		clean := false
		defer func() {
			c.p.adm.washes(-1)
			if clean {
				c.p.adm.put(c, c.p.adm.now())
			} else {
				c.unclean()
			}
		}()
		ctx, cancel := context.WithTimeout(context.Background(), goodbyeTimeout)
		defer cancel()
		if l.trace > sqltext.SequenceTrace && !c.rinsed(ctx) {
			return
		}
		if l.named && c.dropNamed(ctx) != nil {
			return
		}
		if len(l.parsed) > 0 && c.forget(ctx, l.parsed) != nil {
			return
		}
		if !c.check(ctx) && l.trace <= sqltext.SequenceTrace {
			c.belief = facts.Belief{}
			if !c.rinsedOf(sqltext.AnyTrace) { // what ran may have left more than was known
				return
			}
		}
		for _, st := range l.unsure {
			if c.learn(st); c.base != nil && st.Leaves(c.base).Trace == sqltext.LastingTrace {
				return
			}
		}
		for _, st := range l.unsteady {
			c.findSteady(st)
		}
		if c.wonders(time.Now()) && c.askAgain(ctx) != nil {
			return
		}
		clean = c.clean() && (l.trace <= sqltext.SequenceTrace || c.told())
	})
}

// discard closes c, behind a pooler, whose session may have something of its user's. A reset could
// meet the session of somebody else, to whom it does harm; and the session is clean
// for its next user if it was c's alone: a pooler in session mode sees to that when a client leaves (PgBouncer by its
// server_reset_query). Unless it turns out that the session is shared: then it is not ours to mend.
func (c *conn) discard(l residue) {
	c.p.recognition.postpone(l.unsure)
	c.p.adm.retain(c)
	c.p.background("discard", func() {
		kept := false
		defer func() {
			if !kept {
				c.unclean()
			}
		}()
		ctx, cancel := context.WithTimeout(context.Background(), goodbyeTimeout)
		defer cancel()
		c.awaitTwin(ctx)
		if c.askAgain(ctx) == nil && !c.isolates() && c.clean() {
			kept = true
			c.p.adm.put(c, c.p.adm.now())
		}
	})
}

// rinsed has a ping carry the reset that is due, and reports whether that was all.
func (c *conn) rinsed(ctx context.Context) bool {
	if c.pg.Ping(ctx) != nil || !c.clean() || c.differs() {
		return false
	}
	c.unhear()
	return true
}

// rinsedOf resets the session after something of the pool's own.
func (c *conn) rinsedOf(trace sqltext.Trace) bool {
	if !c.isolates() {
		return true
	}
	if !c.clean() { // a connection that pgx closes is not ours to arm: it says goodbye beside us
		return false
	}
	if !c.own() {
		return false
	}
	c.foreign.add(anybody)
	plans, named := trace == sqltext.AnyTrace, trace == sqltext.AnyTrace && !c.session.deallocates
	if named {
		trace = sqltext.SessionTrace
	}
	sql, err := c.session.reset(trace, plans, c.pg.PgConn())
	if err != nil {
		return false
	}
	c.wire.Queue(pgwire.Query(sql))
	ctx, cancel := context.WithTimeout(context.Background(), goodbyeTimeout)
	defer cancel()
	return c.rinsed(ctx) && (!named || c.dropNamed(ctx) == nil)
}

// dropNamed drops the statements that users have prepared under names of their own, on both
// sides: pgx would take the next user's statement of the same name for this one, or go on
// believing in one that only the server has dropped.
func (c *conn) dropNamed(ctx context.Context) error {
	r := c.pg.PgConn().ExecParams(ctx, `select name, statement from pg_catalog.pg_prepared_statements
		where from_sql or name operator(pg_catalog.!~) '^(stmtcache_|lmipool_)' or name operator(pg_catalog.=) '`+witness+`'`, nil, nil, nil, nil).Read()
	if r.Err != nil {
		return r.Err
	}
	kept := 0
	for _, row := range r.Rows {
		name, statement := string(row[0]), string(row[1])
		if _, ours := c.session.prepared[name]; ours || name == witness {
			kept++
			continue
		}
		if err := c.pg.Deallocate(ctx, name); err != nil {
			return err
		}
		if strings.HasPrefix(name, "stmt_") { // to pgx its name is its text; the server has no more to do
			if err := c.pg.Deallocate(ctx, statement); err != nil {
				return err
			}
		}
	}
	if kept <= len(c.session.prepared) {
		return errNoReset // a statement of AfterConnect's is gone, or all
	}
	c.named = nil
	return nil
}

// judge returns err with what the connection knows of it: that what was sent did not run, or
// that it was cancelled.
func (c *conn) judge(err error) error {
	if err == nil {
		return nil
	}
	if failed := c.wire.Failure(); failed != nil {
		if pgerr.IsLost(failed) {
			c.p.health.lost()
		}
		return failed
	}
	if told := c.wire.Declined(); told != nil && !pgerr.IsLost(err) { // else it was not the settings that were declined
		return fmt.Errorf("lmipool: With: %w", c.cancel.explain(told(err)))
	}
	c.conflicts(err)
	return c.committed(c.suffers(c.given.WithoutArgument(c.cancel.explain(err))))
}

package isolation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/pgwire"
	"github.com/lmipool/lmipool/internal/pgxargs"
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

// addName notes that sql may be prepared under name. If sql is "", the text is not known.
func (s *Session) addName(name, sql string) {
	if name == "" {
		return
	}
	if s.named == nil {
		s.named = make(map[string]string)
	}
	s.named[name] = sql
}

// prepared returns the text that a user or AfterConnect has prepared under name, or "" if the text is not known. If nothing has that name, is is false.
func (s *Session) prepared(name string) (sql string, is bool) {
	if sql, is = s.named[name]; !is && s.Baseline != nil {
		sql, is = s.Baseline.Prepared[name]
	}
	return sql, is
}

// TextOf returns the text that an Exec of sql executes. To pgx sql may be the name of a prepared statement: after Prepare("lock", "select …") an Exec
// of "lock" executes the select. If sql is the name of a statement whose text is not known, known is false.
func (s *Session) TextOf(sql string) (text string, known bool) {
	if text, named := s.prepared(sql); named {
		return text, text != ""
	}
	return sql, true
}

// dropNamed drops the statements that users have prepared under names of their own.
func (s *Session) dropNamed(ctx context.Context) error {
	err := s.Baseline.DropNamed(ctx, s.PG)
	if err == nil {
		s.named = nil
	}
	return err
}

// watched ends the recording of what a user with the raw connection sends, and notes in l what that leaves. If texts may mean something else now, or
// if the user has bypassed the wire, changed is true. Then what was parsed meanwhile must be dropped from pgx's caches.
func (s *Session) watched(l *residue) (changed bool) {
	w, ok := s.Wire.Watched()
	if !ok {
		return false
	}
	changed = s.Wire.Strayed() || w.Unseen
	for _, name := range w.Names { // except those of pgx and of the pool
		if !slices.ContainsFunc([]string{"stmtcache_", "stmt_", "lmipool_"}, func(own string) bool { return strings.HasPrefix(name, own) }) {
			s.addName(name, "")
		}
	}
	for _, sql := range slices.Concat(w.Parsed, w.Said) {
		st := s.Catalog.Find(sql, "")
		leaves := st.Leaves(s.Facts)
		if leaves.Ask && s.Facts != nil {
			l.look(st)
		}
		quiet := s.Baseline == nil || leaves.Trace <= sqltext.SequenceTrace || !st.IsPlain && leaves.Trace == sqltext.SessionTrace
		changed = changed || st.Meaning != sqltext.RestoresMeaning && (st.Meaning != sqltext.KeepsMeaning || !quiet)
	}
	if !changed {
		s.kept = w.Names
		return false
	}
	l.addPlans(sqltext.NoTrace)
	l.addParsed(w.Parsed, w.Lost)
	return true
}

// forget drops the entries of these texts from pgx's caches, and the prepared statements on the server. pgx drops the entry of a text whose Query
// fails. So forget runs for each text a Query that fails before anything is sent. In the next Query pgx also drops that text's statement on the
// server. The Query of "" at the end is there to drop the last text's statement.
func (s *Session) forget(ctx context.Context, texts ...string) error {
	ctx = context.WithValue(ctx, silentKey{}, true)
	for _, sql := range append(texts, "") {
		r, err := s.PG.Query(ctx, sql, pgxargs.Fixed{Err: errForgotten})
		r.Close()
		if err != nil && !errors.Is(err, errForgotten) {
			return err
		}
	}
	return nil
}

var errForgotten = errors.New("lmipool: a statement is to be forgotten")

type silentKey struct{}

// IsSilent reports whether ctx belongs to one of forget's failing Queries, of which the user's tracer must not hear.
func IsSilent(ctx context.Context) bool { return ctx.Value(silentKey{}) != nil }

// describedAnew returns the arguments in o with a mode in which pgx sends sql together with them, and uses no earlier description of sql.
func (s *Session) describedAnew(ctx context.Context, sql string, o *pgxargs.Options) ([]any, error) {
	if s.PG.Config().DescriptionCacheCapacity == 0 {
		return o.With(pgx.QueryExecModeExec, o.Rewriter, o.Args), nil
	}
	rewriter, args := o.Rewriter, o.Args
	if rewriter != nil { // it runs once, since it may return something else the second time
		var err error
		if sql, args, err = rewriter.RewriteQuery(ctx, s.PG, sql, args); err != nil {
			return nil, fmt.Errorf("rewrite query failed: %w", err)
		}
		rewriter = pgxargs.Fixed{SQL: sql, Args: args}
	}
	return o.With(pgx.QueryExecModeCacheDescribe, rewriter, args), s.describeAnew(ctx, sql)
}

// describeAnew drops sql from pgx's caches, so that pgx asks the server to describe sql again. forgetDescribed drops that new description.
func (s *Session) describeAnew(ctx context.Context, sql string) error {
	s.anew = append(s.anew, sql)
	return s.forget(ctx, sql)
}

// forgetDescribed drops from pgx's caches the texts given to describeAnew. It sends nothing, unless pgx has also prepared these texts.
func (s *Session) forgetDescribed(ctx context.Context) error {
	texts := s.anew
	if texts == nil {
		return nil
	}
	s.anew = nil
	return s.forget(ctx, texts...)
}

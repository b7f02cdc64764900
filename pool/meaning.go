package pool

import (
	"cmp"
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/pgwire"
	"github.com/lmipool/lmipool/internal/pgxargs"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// What a text means is decided when the server parses it, by the settings that are there then:
// which table a name stands for, by search_path, role and temporary tables; which instant
// '2024-01-01' is, by TimeZone. The prepared statement keeps that meaning, and pgx keeps the
// prepared statement, by its text, for whoever sends the text next. The server may also parse a
// statement again when it is executed, because its table was altered. So while the settings of
// a session differ from what AfterConnect has left, nothing is taken from pgx's caches and
// nothing is put there: each text is parsed, described and executed without a name.

// meaning is whether texts mean in a session what they mean in a clean one.
type meaning uint8

const (
	meansSame  meaning = iota
	meansAsk           // something ran of which nobody knows what it has set: the server is asked before the next text
	meansOther         // they do not
)

// foreign reports whether l's texts are kept out of pgx's caches.
func (l *Lease) foreign() bool { return l.meaning == meansOther || !l.with.Custom() }

// meant is args as they have to be for sql to mean what it says in its session as it is now.
// It runs between enter and leave, before the statement is noted. simple: without arguments
// pgx takes the simple protocol, which caches nothing.
func (l *Lease) meant(ctx context.Context, sql string, args []any, simple bool) ([]any, error) {
	l.heard()
	args = l.fix(ctx, sql, args)
	if err := l.c.forgetDescribed(ctx); err != nil {
		return nil, err
	}
	if l.meaning == meansSame && l.with.Custom() {
		return args, nil
	}
	text, known := l.c.meantBy(sql)
	if !known || !sqltext.Aside(text) {
		if same, err := l.settled(ctx); same || err != nil {
			return args, err
		}
	}
	o := pgxargs.Parse(args)
	switch {
	case simple && o.Rewriter == nil && len(o.Args) == 0, !pgxargs.Caches(cmp.Or(o.Mode, l.c.reach.Mode())):
		return args, nil
	case l.wanders():
		return l.describedAnew(ctx, sql, &o)
	}
	return o.With(pgx.QueryExecModeDescribeExec, o.Rewriter, o.Args), nil // pgx's answers without its caches
}

// fix is args with what their rewriter makes of sql. It gets the connection, and may send something.
func (l *Lease) fix(ctx context.Context, sql string, args []any) []any {
	o := pgxargs.Parse(args)
	if !o.Foreign() {
		return args
	}
	before, same := l.c.wire.Sent(), l.meaning == meansSame && !l.foreign()
	var f pgxargs.Fixed
	f.SQL, f.Args, f.Err = o.Rewriter.RewriteQuery(ctx, l.c.pg, sql, o.Args)
	if l.c.wire.Sent() != before { // nobody knows what
		l.noteAny()
		l.changes(sqltext.MayChangeMeaning, true)
		l.residue.AddNamed(sqltext.NoTrace)
		l.residue.AddParsed(nil, !same)
	}
	return o.With(o.Mode, f, o.Args) // a tracer sees these
}

// heard takes in what the user has sent by the raw connection, if he has that, up to now.
func (l *Lease) heard() {
	if l.gaveRaw() && l.c.watched(&l.residue, &l.pending) {
		l.changes(sqltext.MayChangeMeaning, true)
	}
}

// settled asks the server, if that is due, and reports whether texts mean what they mean in a
// clean session. If not, it does what is to be done before the next that runs something.
func (l *Lease) settled(ctx context.Context) (same bool, err error) {
	if l.meaning == meansAsk && l.with.Custom() {
		if err := l.ask(ctx); err != nil {
			return false, err
		}
	}
	if !l.foreign() {
		return l.meaning == meansSame, nil
	}
	l.differs()
	l.replan()
	return false, nil
}

// wanders reports whether l's next flight may meet another session than the last.
func (l *Lease) wanders() bool { return !l.c.reach.Own() && l.c.pg.PgConn().TxStatus() == 'I' }

// differs notes that texts mean something else, or may.
func (l *Lease) differs() {
	if l.c.reach.Resets() {
		l.residue.AddPlans(sqltext.SessionTrace)
	}
}

// replan drops on the server, in front of what is sent next, what functions of the user's have
// planned, as that has another meaning than it would get now. The reset does so again. A session that
// may be somebody else's keeps its plans.
func (l *Lease) replan() {
	if !l.planned && l.c.reach.Resets() && l.c.reach.Own() && l.c.pg.PgConn().TxStatus() != 'E' {
		l.planned = true
		l.c.wire.QueueFirst(pgwire.Try("discard plans"))
	}
}

// changes notes what a statement that is about to run does to the meaning of later texts: m, or,
// if hidden, what only the server knows.
func (l *Lease) changes(m sqltext.Meaning, hidden bool) {
	if l.c.session == nil { // nothing is known to compare with
		hidden = false
		if m == sqltext.MayChangeMeaning {
			m = sqltext.ChangesMeaning
		}
	}
	switch {
	case m == sqltext.ChangesMeaning:
		l.meaning = meansOther
		l.differs()
	case m == sqltext.MayChangeMeaning:
		l.differs()
		l.meaning = max(l.meaning, meansAsk)
	case hidden:
		l.meaning = max(l.meaning, meansAsk)
	case m == sqltext.RestoresMeaning:
		l.restores()
		return
	default:
		return
	}
	l.touched, l.planned = true, false
}

// restores notes that a transaction, or what came after a savepoint, is over: what was set in it
// is what it was before, whatever that was; and triggers that were deferred have run.
func (l *Lease) restores() {
	if l.touched {
		l.meaning = meansAsk
	}
}

// inherits notes what the last user of a session that nobody resets has left it like: what texts mean is to be asked.
func (l *Lease) inherits() {
	if l.c.strange {
		l.meaning, l.touched = meansAsk, true
	}
}

// bequeaths notes that for the next user. Behind a pooler he gets another session.
func (l *Lease) bequeaths() {
	l.c.strange = l.meaning == meansOther && l.c.session != nil && l.c.reach.Own() && !l.c.reach.Isolates()
}

// ask asks the server whether all that decides what a text means is as it was when the session
// was clean. It is a round trip, and each statement that is parsed anew costs one more.
func (l *Lease) ask(ctx context.Context) error {
	pc := l.c.pg.PgConn()
	if l.c.session == nil {
		l.meaning = meansOther
		return nil
	}
	if pc.TxStatus() == 'E' || pc.IsBusy() || pc.IsClosed() { // what comes next fails, and pgx says why
		return nil
	}
	same, err := l.c.session.Same(ctx, pc)
	if l.result == nil {
		l.c.wire.StartCall() // what was sent is not the user's
	}
	if err != nil {
		return err
	}
	l.meaning, l.planned = meansOther, false
	if same {
		l.meaning = meansSame
		if l.residue.Plans() { // it was not, and functions may have planned then
			l.replan()
		}
	}
	return nil
}

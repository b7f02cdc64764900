package isolation

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/pgxargs"
	"github.com/lmipool/lmipool/internal/session"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// Begin notes that u is of s, which it has got, and runs with w; nil: with nothing. more: it may send more than one statement or batch.
func (u *Use) Begin(s *Session, w *session.Settings, more bool) {
	u.s, u.with, u.more = s, w, more
	if s.strange {
		u.Doubt()
	}
	s.startCall(true)
	s.Bind(w) // also to nothing, whatever it was bound to
}

// Enter notes that its call of this number begins. sends: something is asked for; open: a result is still open, for which that may be.
func (u *Use) Enter(call uint32, sends, open bool) {
	u.left.Use()
	u.call, u.open = call, open
	if sends && !open {
		u.s.Wire.StartCall()
		u.s.startCall(false)
	}
}

// Leave notes that the call is over. tx is the transaction's state; raw: the user has the connection itself.
func (u *Use) Leave(tx byte, raw bool) {
	if tx == 'E' {
		u.s.foreign.Fail()
	}
	if raw {
		u.Lend(false)
	}
}

// Lend notes that the user has the connection itself. In a call, what is queued is sent when that is over.
func (u *Use) Lend(inCall bool) {
	u.s.Wire.Watch(u.s.kept)
	if !inCall {
		u.s.hideForeign()
		u.s.flush()
	}
}

// TakeBack notes that he is to have it no more.
func (u *Use) TakeBack() {
	u.left.AddNamed(sqltext.AnyTrace)
	u.s.watched(&u.left)
}

// Ask has st looked at once u is over.
func (u *Use) Ask(st *catalog.Statement) {
	if !slices.Contains(u.left.unsure, st) {
		u.left.insist(st)
	}
}

// BeforeStatement returns args as they have to be for sql to mean what it says in its session as it is now, and notes what it leaves. It runs in a
// call. st is what is known of sql; nil: that was not asked. simple: without arguments pgx takes the simple protocol, which caches nothing.
func (u *Use) BeforeStatement(ctx context.Context, st *catalog.Statement, sql string, args []any, simple bool) ([]any, error) {
	args, err := u.meant(ctx, sql, args, simple)
	if err == nil {
		u.note(ctx, st, sql, args)
	}
	return args, err
}

func (u *Use) meant(ctx context.Context, sql string, args []any, simple bool) ([]any, error) {
	s := u.s
	u.hear()
	args = u.rewrite(ctx, sql, args)
	if err := s.forgetDescribed(ctx); err != nil {
		return nil, err
	}
	if u.isSame() {
		return args, nil
	}
	if text, known := s.TextOf(sql); !known || !sqltext.Aside(text) {
		if same, err := u.asks(ctx); same || err != nil {
			return args, err
		}
	}
	o := pgxargs.Parse(args)
	switch {
	case simple && o.Rewriter == nil && len(o.Args) == 0, !pgxargs.Caches(cmp.Or(o.Mode, s.Reach.Mode())):
		return args, nil
	case !s.Reach.Own() && s.PG.PgConn().TxStatus() == 'I': // the next flight may meet another session than the last
		return s.describedAnew(ctx, sql, &o)
	}
	return o.With(pgx.QueryExecModeDescribeExec, o.Rewriter, o.Args), nil // pgx's answers without its caches
}

// hear takes in what the user has sent by the raw connection, if he has that, up to now.
func (u *Use) hear() {
	if u.s.watched(&u.left) {
		u.change(sqltext.MayChangeMeaning, true)
	}
}

// rewrite is args with what a rewriter of the user's makes of sql. It gets the connection, and may send something.
func (u *Use) rewrite(ctx context.Context, sql string, args []any) []any {
	o := pgxargs.Parse(args)
	if !o.Foreign() {
		return args
	}
	before, same := u.s.Wire.Sent(), u.isSame()
	var f pgxargs.Fixed
	f.SQL, f.Args, f.Err = o.Rewriter.RewriteQuery(ctx, u.s.PG, sql, o.Args)
	if u.s.Wire.Sent() != before { // nobody knows what
		u.noteUnknown(sqltext.MayChangeMeaning)
		u.left.AddNamed(sqltext.NoTrace)
		u.left.AddParsed(nil, !same)
	}
	return o.With(o.Mode, f, o.Args) // a tracer sees these
}

// BeforeBatch is the same of a batch. It takes no mode; but what is prepared under its own text pgx uses rather than its caches. named are the texts
// that were prepared so: they must not be there any more when the batch is over, since the next statements may run under other settings.
func (u *Use) BeforeBatch(ctx context.Context, b *pgx.Batch) (meant *pgx.Batch, named []string, err error) {
	if meant, named, err = u.meantBatch(ctx, b); err != nil {
		return nil, nil, err
	}
	for _, q := range b.QueuedQueries {
		u.note(ctx, nil, q.SQL, q.Arguments)
	}
	u.s.noteArguments(pgerr.Arguments{Batch: b.QueuedQueries})
	return meant, named, nil
}

func (u *Use) meantBatch(ctx context.Context, b *pgx.Batch) (meant *pgx.Batch, named []string, err error) {
	s := u.s
	u.hear()
	if err := s.forgetDescribed(ctx); err != nil {
		return nil, nil, err
	}
	if u.isSame() {
		return b, nil, nil
	}
	if same, err := u.asks(ctx); same || err != nil || !pgxargs.Caches(s.Reach.Mode()) {
		return b, nil, err
	}
	meant = pgxargs.CopyBatch(b)
	for _, q := range meant.QueuedQueries { // all, before anything is prepared: a rewriter of the user's may fail
		if q.SQL, q.Arguments, err = pgxargs.RewriteQueued(ctx, s.PG, q.SQL, q.Arguments); err != nil {
			return nil, nil, err
		}
	}
	var tried []string
	defer func() {
		if named == nil { // an error, or a tracer that panics
			u.Unname(ctx, tried)
		}
	}()
	for _, q := range meant.QueuedQueries {
		if !s.Reach.Own() && s.Reach.Mode() == pgx.QueryExecModeCacheDescribe {
			if err := s.describeAnew(ctx, q.SQL); err != nil {
				return nil, nil, err
			}
			continue
		}
		if _, isName := s.prepared(q.SQL); isName || q.SQL == "" || slices.Contains(tried, q.SQL) {
			continue
		}
		tried = append(tried, q.SQL)
		sd, err := s.PG.Prepare(ctx, q.SQL, q.SQL)
		if err != nil {
			return nil, nil, err
		}
		if !strings.HasPrefix(sd.Name, "stmt_") {
			tried = tried[:len(tried)-1]
		}
	}
	return meant, tried, nil
}

// Unname drops what BeforeBatch has prepared. What cannot be dropped now is dropped when the lease ends.
func (u *Use) Unname(ctx context.Context, named []string) {
	for _, sql := range named {
		if u.s.PG.Deallocate(ctx, sql) != nil {
			u.left.AddNamed(sqltext.SessionTrace)
			return
		}
	}
}

// BeforeCopy is for a COPY that leaves what the statement sql would leave.
func (u *Use) BeforeCopy(ctx context.Context, sql string) error {
	u.hear()
	_, err := u.asks(ctx)
	if err == nil {
		u.note(ctx, nil, sql, nil)
	}
	return err
}

// BeforeBegin is for a transaction with these options, which runs with w; nil: with nothing. BEGIN does not.
func (u *Use) BeforeBegin(ctx context.Context, w *session.Settings, opts pgx.TxOptions) error {
	u.with = w
	if u.meaning == meansAsk && u.s.PG.PgConn().TxStatus() == 'I' { // inside it would be too late for SET TRANSACTION
		if err := u.ask(ctx); err != nil {
			return err
		}
	}
	if u.keepsApart() {
		u.leavePlans()
	}
	if !u.with.Custom() {
		u.dropPlans()
	}
	for _, sql := range []string{opts.BeginQuery, opts.CommitQuery} {
		if sql != "" {
			u.note(ctx, nil, sql, nil)
		}
	}
	return nil
}

// Prepared notes that name is prepared as sql, or may be. sql is "" if it is not known.
func (u *Use) Prepared(name, sql string) {
	u.left.AddNamed(sqltext.AnyTrace)
	u.s.addName(name, sql)
}

// End notes in the session what its user has left behind, and what is to be asked.
func (u *Use) End() {
	u.bequeath()
	s := u.s
	if s.anew != nil {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		_ = s.forgetDescribed(ctx) // else the connection is lost
		cancel()
	}
	strayed, forgives := s.Wire.Strayed(), !s.Reach.Isolates()
	s.left.merge(&u.left, forgives)
	if forgives {
		return
	}
	if strayed { // a tracer's, say: nobody knows what it did, nor what was parsed after it
		s.left.Add(sqltext.LastingTrace)
	}
	if u.left.Used() && s.differs() {
		s.left.Report() // whoever did that, in a way that nobody could foresee
	}
	s.foreign.Fail() // of its last statement nobody has said how it went
	s.foreign.Add(u.left.Drew()...)
	if s.left.Trace() >= sqltext.AnyTrace {
		s.foreign.Add(session.Anybody)
	}
}

// RunHook runs a hook that gets the connection. What it sends may leave anything behind, as what a user with the raw connection sends. changed: texts
// may mean something else after it.
func (s *Session) RunHook(hook func()) (changed bool) {
	s.flush()
	before, queued, hidden := s.Wire.Sent(), s.Wire.Save(), s.hideForeign()
	s.Wire.Watch(s.kept)
	defer func() { changed = s.watched(&s.left) }()
	hook()
	switch {
	case s.Wire.Sent() == before:
		s.Wire.Restore(queued)
		s.showForeign(hidden)
	case s.Reach.Isolates():
		s.left.AddNamed(sqltext.AnyTrace)
		s.foreign.Add(session.Anybody)
	}
	return changed
}

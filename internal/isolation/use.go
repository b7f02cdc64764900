package isolation

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/catalog"
	"github.com/lmipool/lmipool/internal/pgerr"
	"github.com/lmipool/lmipool/internal/pgwire"
	"github.com/lmipool/lmipool/internal/pgxargs"
	"github.com/lmipool/lmipool/internal/session"
	"github.com/lmipool/lmipool/internal/sqltext"
)

// Begin begins a lease of s, which runs with the settings w unless w is nil. If more is true, the lease may send more than one statement or batch.
func (u *Use) Begin(s *Session, w *session.Settings, more bool) {
	u.s, u.with, u.more = s, w, more
	if s.strange {
		u.Doubt()
	}
	s.startCall(true)
	s.Bind(w) // even if w is nil, because the session may still have an earlier user's settings
}

// Enter notes that the lease's call with this number begins. sends says whether the call sends something. If open is true, it may be about a result.
func (u *Use) Enter(call uint32, sends, open bool) {
	u.call, u.open = call, open
	if sends && !open {
		u.s.Wire.StartCall()
		u.s.startCall(false)
		u.s.show()
	}
}

// Leave notes that the call is over. tx is the transaction's state in pgconn's letters. If raw is true, the user has the raw connection.
func (u *Use) Leave(tx byte, raw bool) {
	if tx == 'E' {
		u.s.foreign.fail()
	}
	if raw {
		u.Lend(false)
	}
}

// Lend notes that the user has the raw connection. What is queued is sent now, or at the end of the call if inCall is true.
func (u *Use) Lend(inCall bool) {
	u.s.Wire.Watch(u.s.kept)
	if !inCall {
		u.s.hideForeign()
		u.s.flush()
	}
}

// TakeBack notes that the user may no longer use the raw connection.
func (u *Use) TakeBack() {
	u.left.addNamed(sqltext.AnyTrace)
	u.s.watched(&u.left)
}

// Ask notes that st has to be looked at after the lease.
func (u *Use) Ask(st *catalog.Statement) { u.left.ask(st) }

// BeforeStatement notes what sql leaves, and returns the arguments with which pgx has the server parse sql under the present settings. It is called
// within a call. st is what is known of sql, or nil. If simple is true, pgx sends a text without arguments by the simple protocol, which caches nothing.
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
	case simple && o.Rewriter == nil && len(o.Args) == 0, !pgxargs.Caches(cmp.Or(o.Mode, s.Reach.Mode)):
		return args, nil
	case !s.Reach.Own() && s.PG.PgConn().TxStatus() == 'I': // each exchange may run in another session
		return s.describedAnew(ctx, sql, &o)
	}
	return o.With(pgx.QueryExecModeDescribeExec, o.Rewriter, o.Args), nil // this mode gives the results of the default mode, without the caches
}

// hear notes what the user has sent so far over the raw connection. It does nothing if the user does not have the raw connection.
func (u *Use) hear() {
	if u.s.watched(&u.left) {
		u.change(sqltext.MayChangeMeaning, true)
	}
}

// rewrite runs the user's own pgx.QueryRewriter, if args has one, and returns args with the result instead of the rewriter. The rewriter gets the
// connection, and what it sends there may leave anything.
func (u *Use) rewrite(ctx context.Context, sql string, args []any) []any {
	o := pgxargs.Parse(args)
	if !o.Foreign() {
		return args
	}
	before, same := u.s.Wire.Sent(), u.isSame()
	var f pgxargs.Fixed
	f.SQL, f.Args, f.Err = o.Rewriter.RewriteQuery(ctx, u.s.PG, sql, o.Args)
	if u.s.Wire.Sent() != before { // the rewriter has sent something, and nobody knows what
		u.noteUnknown(context.Background(), sqltext.MayChangeMeaning)
		u.left.addNamed(sqltext.NoTrace)
		u.left.addParsed(nil, !same)
	}
	return o.With(o.Mode, f, o.Args) // a tracer sees these arguments
}

// BeforeBatch is BeforeStatement for a batch. A batch takes no mode. So where pgx's caches must not be used, each text is prepared under a name that
// is the text itself, which pgx uses before its caches. named are these texts. Unname drops them after the batch, since settings may change again.
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
	if same, err := u.asks(ctx); same || err != nil || !pgxargs.Caches(s.Reach.Mode) {
		return b, nil, err
	}
	meant = pgxargs.CopyBatch(b)
	for _, q := range meant.QueuedQueries { // all are rewritten before anything is prepared, because a user's rewriter may fail
		if q.SQL, q.Arguments, err = pgxargs.RewriteQueued(ctx, s.PG, q.SQL, q.Arguments); err != nil {
			return nil, nil, err
		}
	}
	var tried []string
	defer func() {
		if named == nil { // an error, or a tracer has panicked
			u.Unname(ctx, tried)
		}
	}()
	for _, q := range meant.QueuedQueries {
		if !s.Reach.Own() && s.Reach.Mode == pgx.QueryExecModeCacheDescribe {
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

// Unname drops the statements that BeforeBatch has prepared. If one cannot be dropped now, the reset after the lease drops it.
func (u *Use) Unname(ctx context.Context, named []string) {
	for _, sql := range named {
		if u.s.PG.Deallocate(ctx, sql) != nil {
			u.left.addNamed(sqltext.SessionTrace)
			return
		}
	}
}

// BeforeCopy is BeforeStatement for a COPY, which leaves what the statement sql would leave.
func (u *Use) BeforeCopy(ctx context.Context, sql string) error {
	u.hear()
	_, err := u.asks(ctx)
	if err == nil {
		u.note(ctx, nil, sql, nil)
	}
	return err
}

// BeforeBegin is BeforeStatement for the BEGIN of a transaction with the options opts. The transaction, but not BEGIN, runs with w unless w is nil.
func (u *Use) BeforeBegin(ctx context.Context, w *session.Settings, opts pgx.TxOptions) error {
	u.with = w
	if u.meaning == meansAsk && u.s.PG.PgConn().TxStatus() == 'I' { // asked now, because SET TRANSACTION fails after a query in the transaction
		if err := u.ask(ctx); err != nil {
			return err
		}
	}
	if u.keepsApart() {
		u.leavePlans()
	}
	if !u.with.Custom() {
		u.dropPlans(ctx)
	}
	for _, sql := range []string{opts.BeginQuery, opts.CommitQuery} {
		if sql != "" {
			u.note(ctx, nil, sql, nil)
		}
	}
	return nil
}

// Prepared notes that sql may be prepared under name. If sql is "", the text is not known.
func (u *Use) Prepared(name, sql string) {
	u.left.addNamed(sqltext.AnyTrace)
	u.s.addName(name, sql)
}

// End ends the lease. It adds to the session what the user has left behind, and the questions that have to be asked about that.
func (u *Use) End() {
	s := u.s
	s.strange = u.meaning == meansOther && s.Baseline != nil && s.Reach.Own() && !s.Reach.Isolates() // behind a pooler the next user gets another session
	if s.anew != nil {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		_ = s.forgetDescribed(ctx) // it fails only if the connection is lost, which is noticed later
		cancel()
	}
	strayed, forgives := s.Wire.Strayed(), !s.Reach.Isolates()
	s.left.merge(&u.left, forgives)
	if forgives {
		return
	}
	if strayed { // something bypassed the wire, for example in a tracer, so nobody knows what it did and what was parsed after it
		s.left.add(sqltext.LastingTrace)
	}
	if s.differs() {
		s.left.report()
	}
	s.foreign.fail() // it is not known whether the last statement succeeded
	s.foreign.add(u.left.drew...)
	if s.left.trace >= sqltext.AnyTrace {
		s.foreign.add(anybody)
	}
}

// RunHook runs a hook that gets the raw connection. What it sends may leave anything. If texts may mean something else after it, changed is true.
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
		s.left.addNamed(sqltext.AnyTrace)
		s.foreign.add(anybody)
	}
	return changed
}

const appName = "application_name"

// Show has the server show name as application_name, from the lease's first exchange on. If name is "", the server shows the session's own name.
func (u *Use) Show(name string) { u.s.route.due, u.s.route.name = true, name }

// show queues what Show has asked for in front of the exchange that comes now, if the server shows another name. It costs no round trip.
func (s *Session) show() {
	r := &s.route
	if !r.due {
		return
	}
	r.due = false
	name, now := r.name, s.PG.PgConn().ParameterStatus(appName)
	if r.reset {
		now, r.reset = r.own, false
	}
	labeled := r.label != "" && now == r.label
	if name == "" && labeled {
		name = r.own
	}
	if name == "" || name == now || !s.Reach.Own() { // behind a pooler the name could reach another session
		return
	}
	if !labeled {
		r.own = now
	}
	r.label = name
	s.Wire.QueueFirst(pgwire.Try("set application_name = " + session.QuoteText(name)))
}

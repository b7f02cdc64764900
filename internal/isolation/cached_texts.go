package isolation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool/internal/pgxargs"
	"github.com/lmipool/lmipool/internal/sqltext"
)

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

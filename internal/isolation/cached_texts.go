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

// What pgx, or a user, has prepared and described on the connection, by text and by name.

// addName notes that name is prepared as sql, or may be. sql is "" if it is not known.
func (s *Session) addName(name, sql string) {
	if name == "" {
		return
	}
	if s.named == nil {
		s.named = make(map[string]string)
	}
	s.named[name] = sql
}

// prepared is what is prepared under name by a user or AfterConnect, "" if that is not known. is is false if nothing is.
func (s *Session) prepared(name string) (sql string, is bool) {
	if sql, is = s.named[name]; !is && s.Baseline != nil {
		sql, is = s.Baseline.Prepared[name]
	}
	return sql, is
}

// TextOf is what sql executes: itself, or what is prepared under that name, since to pgx a text may be the name of a statement, whatever it reads
// like: after Prepare("lock", "select …") an Exec of "lock" executes that. known is false if nobody knows it.
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

// watched ends that it is written down what somebody with the raw connection sends. What strayed was not seen. Unless each statement is known to
// leave the meaning of texts alone, what was parsed is not for others: l says that it is to be dropped from pgx's caches, and changed is true.
func (s *Session) watched(l *Left) (changed bool) {
	w, ok := s.Wire.Watched()
	if !ok {
		return false
	}
	changed = s.Wire.Strayed() || w.Unseen
	for _, name := range w.Names { // but for what pgx and the pool name themselves
		if !slices.ContainsFunc([]string{"stmtcache_", "stmt_", "lmipool_"}, func(own string) bool { return strings.HasPrefix(name, own) }) {
			s.addName(name, "")
		}
	}
	for _, sql := range slices.Concat(w.Parsed, w.Said) {
		st := s.Catalog.Find(sql, "")
		leaves := st.Leaves(s.Facts)
		if leaves.Ask && s.Facts != nil {
			l.add(st)
		}
		quiet := s.Baseline == nil || leaves.Trace <= sqltext.SequenceTrace || !st.IsPlain && leaves.Trace == sqltext.SessionTrace
		changed = changed || st.Meaning != sqltext.RestoresMeaning && (st.Meaning != sqltext.KeepsMeaning || !quiet)
	}
	if !changed {
		s.kept = w.Names
		return false
	}
	l.AddPlans(sqltext.NoTrace)
	l.AddParsed(w.Parsed, w.Lost)
	return true
}

// forget drops what pgx has in its caches for these texts, on both sides, and nothing else. pgx drops the entry of a text whose Query fails; so it is
// given one that fails before anything of it is sent. With the next Query, which is another of these, it drops on the server what it has dropped
// itself.
func (s *Session) forget(ctx context.Context, texts ...string) error {
	ctx = context.WithValue(ctx, silentKey{}, true)
	for _, sql := range append(texts, "") {
		r, err := s.PG.Query(ctx, sql, failing{})
		r.Close()
		if err != nil && !errors.Is(err, errForgotten) {
			return err
		}
	}
	return nil
}

// failing is a rewriter that fails.
type failing struct{}

func (failing) RewriteQuery(context.Context, *pgx.Conn, string, []any) (string, []any, error) {
	return "", nil, errForgotten
}

var errForgotten = errors.New("lmipool: a statement is to be forgotten")

type silentKey struct{}

// IsSilent reports whether a statement with this ctx is one of which the user's tracer is not to hear.
func IsSilent(ctx context.Context) bool { return ctx.Value(silentKey{}) != nil }

// describedAnew is o's arguments with a mode that executes sql in one flight, and takes nothing from pgx's caches.
func (s *Session) describedAnew(ctx context.Context, sql string, o *pgxargs.Options) ([]any, error) {
	if s.PG.Config().DescriptionCacheCapacity == 0 {
		return o.With(pgx.QueryExecModeExec, o.Rewriter, o.Args), nil
	}
	rewriter, args := o.Rewriter, o.Args
	if rewriter != nil { // it may answer otherwise the second time
		var err error
		if sql, args, err = rewriter.RewriteQuery(ctx, s.PG, sql, args); err != nil {
			return nil, fmt.Errorf("rewrite query failed: %w", err)
		}
		rewriter = pgxargs.Fixed{SQL: sql, Args: args}
	}
	return o.With(pgx.QueryExecModeCacheDescribe, rewriter, args), s.describeAnew(ctx, sql)
}

// describeAnew has pgx describe sql the next time it is sent, and forget that afterwards.
func (s *Session) describeAnew(ctx context.Context, sql string) error {
	s.anew = append(s.anew, sql)
	return s.forget(ctx, sql)
}

// forgetDescribed drops what was described so. It sends nothing, unless pgx has prepared the same texts too.
func (s *Session) forgetDescribed(ctx context.Context) error {
	texts := s.anew
	if texts == nil {
		return nil
	}
	s.anew = nil
	return s.forget(ctx, texts...)
}

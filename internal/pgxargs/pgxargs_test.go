package pgxargs

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
)

func TestOptionsAreReadAsPgxReadsThem(t *testing.T) {
	t.Parallel()
	const exec, describe = pgx.QueryExecModeExec, pgx.QueryExecModeDescribeExec
	formats, named, user := pgx.QueryResultFormats{pgx.TextFormatCode}, pgx.NamedArgs{"a": 1}, userRewriter{}
	byOID := pgx.QueryResultFormatsByOID{25: pgx.TextFormatCode}
	for _, c := range []struct {
		args          []any
		given         int
		mode          pgx.QueryExecMode
		few, foreign  bool
		text          string
		described     []any
		withoutOption []any
	}{
		{nil, 0, 0, true, false, "@a", []any{describe}, nil},
		{[]any{1, exec}, 0, 0, true, false, "@a", []any{describe, 1, exec}, []any{1, exec}},
		{[]any{exec, formats, describe, 1}, 3, describe, false, false, "@a", []any{describe, formats, 1}, []any{1}},
		{[]any{named}, 1, 0, true, false, "$1", []any{describe, named}, nil},
		{[]any{named, exec, 1}, 2, exec, false, false, "$1", []any{describe, named, 1}, []any{1}},
		{[]any{byOID, 1}, 1, 0, true, false, "@a", []any{describe, byOID, 1}, []any{1}},
		{[]any{named, byOID}, 2, 0, true, false, "$1", []any{describe, byOID, named}, nil},
		{[]any{byOID, byOID, 1}, 2, 0, false, false, "@a", []any{describe, byOID, byOID, 1}, []any{1}},
		{[]any{pgx.QueryResultFormatsByOID(nil), 1}, 1, 0, false, false, "@a", []any{describe, pgx.QueryResultFormatsByOID(nil), 1}, []any{1}},
		{[]any{user, named}, 2, 0, false, false, "$1", []any{describe, named}, nil},
		{[]any{named, user, 2}, 2, 0, false, true, "", []any{describe, user, 2}, []any{2}},
	} {
		o := Parse(c.args)
		assert.Len(t, o.given, c.given, "%v", c.args)
		assert.Equal(t, c.mode, o.Mode, "%v", c.args)
		assert.Equal(t, c.few, o.Few(), "%v", c.args)
		assert.Equal(t, c.foreign, o.Foreign(), "%v", c.args)
		assert.ElementsMatch(t, c.withoutOption, o.Args, "%v", c.args)
		assert.Equal(t, c.described, o.With(describe, o.Rewriter, o.Args), "%v", c.args)
		text, ok := Text(t.Context(), "@a", c.args)
		assert.Equal(t, c.text, text, "%v", c.args)
		assert.Equal(t, !c.foreign, ok, "%v", c.args)
	}
}

type userRewriter struct{}

func (userRewriter) RewriteQuery(context.Context, *pgx.Conn, string, []any) (string, []any, error) {
	return "select 1", nil, nil
}

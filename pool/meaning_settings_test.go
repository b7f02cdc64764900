package pool_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/internal/sqltext"
	"github.com/lmipool/lmipool/pool"
)

// constants are of every type, and operators, whose meaning may hang on a setting.
var constants = []string{
	"timestamptz '2024-01-01'", "timestamptz '01/02/2024 EST'", "timestamp '01/02/2024'", "date '01/02/03'", "timetz '10:00'", "time '10:00 PM'", "interval '-1 2:03:04'", "interval '1 day -1 hour'",
	"'{NULL,a}'::text[]", "'{NULL,1}'::int[]", "(1 = null)", "(null = 1)", `'a\b'`, `E'a\'b'`, `U&'\0041'`, `'a\141'`, "money '1.234'", "money '$1,234.56'", "12.5", "1e5", "float4 '1.1'", "float8 '1.1'", "numeric '1.10'",
	`'\x41'::bytea`, `bytea 'a\\b'`, "tsvector 'the cats'", "tsquery 'the & cats'", "regconfig 'english'", "to_tsvector('the cats')", "'pg_class'::regclass", "'now'::regproc", "'int'::regtype",
	"xml '<a/>'", "xml 'abc'", "json '{}'", "bit '101'", "inet '1.2.3.4'", "'[2024-01-01,2024-02-01)'::tstzrange", "'{[01/02/03,02/02/03)}'::datemultirange", "row('01/02/03'::date)",
	"name 'x'", `"char" 'x'`, "uuid 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "point '(1,2)'", "current_schemas(false)", "5 / 2", "'abc' ~ 'a.c'", "(0.1::float8 + 0.2::float8)::text", "quote_ident('abc')", "quote_literal('a')", "format('%I', 'abc')", "('a' || 'b' collate \"C\")", "jsonb '{\"a\": 1.10}'", "to_char(1234.5, '9G999D9')",
	"to_char(date '2024-01-01', 'TMMonth')", "'01/02/03'::text::date", "'1.5'::text::money", "lower('I')", "(select count(*) from pg_class where relname = 'pg_class')",
}

// Each setting that a user can change is tried with other values than its own. If a statement that was prepared with it
// answers other than one that was prepared without, both being executed without, then texts mean
// something else with it: the server is asked for it, and a SET of it is taken for a change.
func TestWhatTheServerIsAskedIsAllThatDecidesMeaning(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	c, err := pgx.Connect(ctx, pgtest.Database(t)+"&default_query_exec_mode=simple_protocol")
	require.NoError(t, err)
	defer c.Close(ctx)
	rows, err := c.Query(ctx, `select name, vartype, coalesce(enumvals, '{}'), coalesce(min_val, ''), coalesce(max_val, ''), setting from pg_settings
		where context in ('user', 'superuser') and name !~ '^(log_|debug_|trace_|ignore_|zero_damaged|exit_on_error|role|session_authorization|transaction_|statement_timeout|client_encoding|restrict_|seed|wal_consistency|backtrace|event_source|allow_in_place|local_preload|session_preload|dynamic_library|jit_)'`)
	require.NoError(t, err)
	type setting struct {
		name, kind string
		enum       []string
		low, high  string
		now        string
	}
	settings, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (s setting, err error) {
		return s, r.Scan(&s.name, &s.kind, &s.enum, &s.low, &s.high, &s.now)
	})
	require.NoError(t, err)
	prepare := "prepare p as select "
	for i, k := range constants {
		if i > 0 {
			prepare += ", "
		}
		prepare += "(" + k + ")::text"
	}
	prepared := func() string {
		if _, err := c.Exec(ctx, prepare); err != nil {
			return err.Error()
		}
		return ""
	}
	executed := func() string {
		r, err := c.Query(ctx, "execute p")
		require.NoError(t, err)
		row, err := pgx.CollectExactlyOneRow(r, func(r pgx.CollectableRow) (string, error) {
			v, err := r.Values()
			var b strings.Builder
			for _, x := range v {
				s, _ := x.(string)
				b.WriteString(s + "\n")
			}
			return b.String(), err
		})
		if err != nil {
			return err.Error()
		}
		return row
	}
	require.Empty(t, prepared())
	want := executed()
	strs := []string{"German", "ISO, DMY", "Asia/Tokyo", "C", "de_DE.UTF-8", "pg_temp", "simple", "Australia", "public"}
	tried := 0
	var found []string
	for _, s := range settings {
		values := s.enum
		switch s.kind {
		case "bool":
			values = []string{"on", "off"}
		case "integer", "real":
			values = []string{s.low, s.high}
		case "string":
			values = strs
		}
		for _, v := range values {
			if _, err := c.Exec(ctx, "set "+s.name+" = '"+v+"'"); err != nil || v == s.now {
				continue
			}
			tried++
			_, _ = c.Exec(ctx, "deallocate all")
			failed := prepared()
			if failed == "" {
				executed() // plans it: what is IMMUTABLE is computed then, and kept
			}
			_, err := c.Exec(ctx, "reset "+s.name)
			require.NoError(t, err)
			if failed != "" || executed() != want {
				found = append(found, s.name)
			}
		}
		_, _ = c.Exec(ctx, "reset "+s.name)
	}
	slices.Sort(found)
	found = slices.Compact(found)
	t.Logf("%d values of %d settings: meanings hang on %v", tried, len(settings), found)
	assert.Subset(t, found, []string{"DateStyle", "IntervalStyle", "TimeZone", "array_nulls", "standard_conforming_strings", "transform_null_equals", "extra_float_digits", "quote_all_identifiers", "bytea_output"}, "the test sees")
	for _, name := range found {
		assert.Contains(t, pool.AskMeaning, "current_setting('"+name+"'")
		assert.Equal(t, sqltext.ChangesMeaning, sqltext.AfterMeaning("set "+name+" = 'x'"), name)
		assert.Equal(t, sqltext.ChangesMeaning, sqltext.AfterMeaning("select set_config('"+name+"', $1, true)"), name)
	}
}

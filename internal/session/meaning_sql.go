package session

import (
	"bytes"
	"context"

	"github.com/jackc/pgx/v5/pgconn"
)

// meaningOf is all columns of AskMeaning's row.
func meaningOf(row [][]byte) string { return string(bytes.Join(row, []byte{0})) }

func meaningNow(ctx context.Context, pc *pgconn.PgConn) (string, error) {
	r := pc.ExecParams(ctx, AskMeaning, nil, nil, nil, nil).Read()
	if r.Err != nil {
		return "", r.Err
	}
	return meaningOf(r.Rows[0]), nil
}

// AskMeaning reads what decides the meaning of a text, or of a constant in it that is computed when it is planned:
// TestWhatTheServerIsAskedIsAllThatDecidesMeaning looks for more. An empty schema for temporary tables stays in a session for good and hides nothing, so what is in it counts.
const AskMeaning = `select current_user, session_user,
	pg_catalog.array_remove(pg_catalog.current_schemas(true)::pg_catalog.text[], (select nspname::pg_catalog.text from pg_catalog.pg_namespace where oid operator(pg_catalog.=) pg_catalog.pg_my_temp_schema())),
	(select pg_catalog.string_agg(pg_catalog.concat_ws('.', classid, objid), ',' order by classid, objid) from pg_catalog.pg_depend
		where refclassid operator(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass and refobjid operator(pg_catalog.=) pg_catalog.pg_my_temp_schema()
		and refobjid operator(pg_catalog.<>) 0),
	` + meaningSettings

// newMeaning is AskMeaning for a session that has no schema for temporary tables, as a new one: to plan the questions about that
// schema takes a new session as long as all the rest. Its column meaningTemp is '0' then; if not, AskMeaning has to be asked.
const newMeaning = `current_user, session_user, pg_catalog.current_schemas(true)::pg_catalog.text[], pg_catalog.pg_my_temp_schema(),
	` + meaningSettings

// meaningTemp is the column in which newMeaning and AskMeaning differ, of meaningCount.
const meaningTemp, meaningCount = 3, 26

const meaningSettings = `pg_catalog.current_setting('search_path'), pg_catalog.current_setting('TimeZone'), pg_catalog.current_setting('timezone_abbreviations'),
	pg_catalog.current_setting('DateStyle'), pg_catalog.current_setting('IntervalStyle'), pg_catalog.current_setting('array_nulls'),
	pg_catalog.current_setting('transform_null_equals'), pg_catalog.current_setting('standard_conforming_strings'),
	pg_catalog.current_setting('backslash_quote'), pg_catalog.current_setting('client_encoding'), pg_catalog.current_setting('xmloption'),
	pg_catalog.current_setting('xmlbinary'), pg_catalog.current_setting('lc_monetary'), pg_catalog.current_setting('lc_numeric'),
	pg_catalog.current_setting('lc_time'), pg_catalog.current_setting('default_text_search_config'), pg_catalog.current_setting('row_security'),
	pg_catalog.current_setting('session_replication_role'), pg_catalog.current_setting('restrict_nonsystem_relation_kind', true),
	pg_catalog.current_setting('extra_float_digits'), pg_catalog.current_setting('quote_all_identifiers'),
	pg_catalog.current_setting('bytea_output')`

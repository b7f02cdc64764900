package sqltext_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/lmipool/lmipool/internal/sqltext"
)

func TestWhatAStatementDoesToMeaningsByItsText(t *testing.T) {
	t.Parallel()
	for want, all := range map[sqltext.Meaning][]string{
		sqltext.KeepsMeaning: {
			"", "select 1", "select f(x) from t", "insert into t values (1)", "with x as (select 1) table x", "(values (1))", "begin", "start transaction read only", "savepoint s", "release s",
			"listen c", "unlisten *", "notify c, 'x'", "show timezone", "lock table t", "close c", "prepare p as select 1", "deallocate p", "discard plans", "discard sequences",
			"set work_mem = '9MB'", "set local statement_timeout = 100", "set session lock_timeout to 5", "set app.tenant = 'x'", "set local \"app\".\"tenant\" = 'x'", "reset work_mem", "RESET app.tenant",
			"set transaction read only", "set local transaction isolation level serializable", "set session characteristics as transaction read only", "set enable_seqscan = off", "set application_name = 'x'",
			"select set_config('app.tenant', $1, true)", "select pg_catalog.set_config('work_mem', '9MB', false)", "select pg_advisory_lock(1)",
		},
		sqltext.RestoresMeaning: {"commit", "END", "rollback", "abort", "rollback to savepoint s", "commit and chain", "prepare transaction 'x'"},
		sqltext.MayChangeMeaning: {
			"do $$ begin end $$", "call p()", "execute p", "explain analyze select f()", "create table t ()", "drop table t", "alter role x set y = z", "copy t from stdin", "fetch c", "reset timezone", "reset all",
			"reset role", "set constraints all immediate", "discard temp", "select set_config($1, $2, true)", "select set_config('Time' || 'Zone', 'x', false)", "select 1; select 2", "select 'unclosed", "stmtname",
			"truncate t", "vacuum", "begin; set work_mem = '9MB'",
		},
		sqltext.ChangesMeaning: {
			"set timezone = 'x'", "set time zone 'x'", "set local timezone = 'x'", "set session datestyle to german", "set search_path = a", "set schema 'a'", "set names 'latin1'", "set role x", "set local role none",
			"set session authorization x", "set xml option document", "set array_nulls = off", "set \"TimeZone\" = 'x'", "set unheard_of = 1", "select set_config('TimeZone', $1, true)", "select pg_catalog.set_config ('role'::text, 'x', true)",
			"with x as (select set_config('search_path', 'a', false)) select 1", "create temp table t ()", "create or replace temp view t as select 1", "create local temporary table t ()", "create global temp table t ()",
			"begin; set timezone = 'x'; commit", "/* a */ set /* b */ timezone = 'x'",
		},
	} {
		for _, sql := range all {
			assert.Equal(t, want, sqltext.AfterMeaning(sql), sql)
		}
	}
}

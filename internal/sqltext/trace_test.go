package sqltext_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/lmipool/lmipool/internal/sqltext"
)

func TestWhatAStatementLeavesByItsText(t *testing.T) {
	t.Parallel()
	type is = sqltext.Trace
	for sql, want := range map[string]struct {
		trace is
		asks  bool
	}{
		"":                          {sqltext.NoTrace, false},
		"-- nothing":                {sqltext.NoTrace, false},
		"begin isolation level rr":  {sqltext.NoTrace, false},
		"COMMIT":                    {sqltext.NoTrace, false},
		"rollback to savepoint s":   {sqltext.NoTrace, false},
		"set local x = 1":           {sqltext.NoTrace, false},
		"set transaction read only": {sqltext.NoTrace, false},
		"set x = 1":                 {sqltext.SessionTrace, false},
		"set session characteristics as transaction read only": {sqltext.SessionTrace, false},
		"set session authorization x":                          {sqltext.SessionTrace, false},
		"/* a */ listen c":                                     {sqltext.SessionTrace, false},
		"prepare p as select 1":                                {sqltext.PreparedTrace, false},
		"prepare transaction 'x'":                              {sqltext.PreparedTrace, false},
		"do $$ begin end $$":                                   {sqltext.AnyTrace, false},
		"call f()":                                             {sqltext.AnyTrace, false},
		"create temp table t ()":                               {sqltext.AnyTrace, false},
		"truncate t":                                           {sqltext.AnyTrace, false},
		"explain analyze select f()":                           {sqltext.AnyTrace, false},
		"execute p":                                            {sqltext.AnyTrace, false},
		"stmtname":                                             {sqltext.AnyTrace, false},
		"load 'x'":                                             {sqltext.LastingTrace, false},
		"discard all":                                          {sqltext.LastingTrace, false},
		"deallocate all":                                       {sqltext.LastingTrace, false},
		"deallocate prepare all":                               {sqltext.LastingTrace, false},
		"deallocate p":                                         {sqltext.PreparedTrace, false},
		"select setseed(1)":                                    {sqltext.SessionTrace, true},
		"select dblink_connect('x')":                           {sqltext.LastingTrace, false},
		"select 1; select 2":                                   {sqltext.AnyTrace, false},
		"begin; set x = 1":                                     {sqltext.AnyTrace, false},
		"select 1":                                             {sqltext.NoTrace, true},
		"select * from t for update":                           {sqltext.NoTrace, true},
		"(select lower(x) from t)":                             {sqltext.NoTrace, true},
		"select 1 into t":                                      {sqltext.AnyTrace, false},
		"select mine(1)":                                       {sqltext.AnyTrace, true},
		"select other.lower(x) from t":                         {sqltext.AnyTrace, true},
		"select nextval('s')":                                  {sqltext.SequenceTrace, true},
		"select set_config('a.b', $1, true)":                   {sqltext.NoTrace, true},
		"select set_config('work_mem', $1, true)":              {sqltext.NoTrace, true},
		"select set_config('TimeZone', $1, true)":              {sqltext.SessionTrace, true},
		"select set_config('a', $1, false)":                    {sqltext.SessionTrace, true},
		"select set_config('a', $1, $2)":                       {sqltext.SessionTrace, true},
		"select set_config('a', 'x', true or false)":           {sqltext.SessionTrace, true},
		"select set_config('a', 'x', not true)":                {sqltext.SessionTrace, true},
		"select set_config('a', 'x', true), set_config('a', 'x', false)":                               {sqltext.SessionTrace, true},
		"select pg_advisory_lock(1)":                                                                   {sqltext.SessionTrace, true},
		"select pg_advisory_xact_lock(1)":                                                              {sqltext.NoTrace, true},
		"insert into t (a, b) values (1, f(2))":                                                        {sqltext.AnyTrace, true},
		"insert into s.t (a, b) values ($1, $2) on conflict (a) do update set b = t.b + 1 returning a": {sqltext.NoTrace, true},
		"insert into t select 1 into x":                                                                {sqltext.AnyTrace, false},
		"update t set a = lower($1) where b = $2":                                                      {sqltext.NoTrace, true},
		"delete from t using u where t.a = u.a":                                                        {sqltext.NoTrace, true},
		"with x as (insert into t values (1) returning a) select a from x":                             {sqltext.NoTrace, true},
		"merge into t using u on t.a = u.a when matched then delete":                                   {sqltext.NoTrace, true},
		"set local search_path = x":                                                                    {sqltext.AnyTrace, false},
		"set local schema 'x'":                                                                         {sqltext.AnyTrace, false},
		"select set_config('search_path', 'x', true)":                                                  {sqltext.SessionTrace, true},
		"select set_config('SEARCH_PATH', 'x', true)":                                                  {sqltext.SessionTrace, true},
		"select set_config($1, 'x', true)":                                                             {sqltext.SessionTrace, true},
		"select set_config('search' || '_path', 'x', true)":                                            {sqltext.SessionTrace, true},
		"set seed = 0.5":                                            {sqltext.SessionTrace, false},
		"set local \"Seed\" to 0.5":                                 {sqltext.SessionTrace, false},
		"select set_config('seed', '0.5', true)":                    {sqltext.SessionTrace, true},
		"select 1; load 'x'":                                        {sqltext.LastingTrace, false},
		"select setseed(1); select 1":                               {sqltext.AnyTrace, false},
		"select setseed(1) into x":                                  {sqltext.AnyTrace, false},
		"create table x as select setseed(1)":                       {sqltext.AnyTrace, false},
		"select pg_create_logical_replication_slot('a', 'b', true)": {sqltext.LastingTrace, false},
		"select a from t join u on conflict(u.a)":                   {sqltext.AnyTrace, true},
	} {
		trace, asks, _ := sqltext.Session(sql)
		assert.Equal(t, want.trace, trace, sql)
		assert.Equal(t, want.asks, asks, sql)
	}
}

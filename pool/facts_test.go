package pool_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// factsSchema has code of the user's own in many places.
const factsSchema = `
create table users (id int primary key, name text, boss int, tags text[], doc jsonb, at timestamptz default now());
create table plans (id int primary key, price numeric);
create table innocent (id serial primary key, word text check (length(word) < 100));
create index on innocent (lower(word));
create view people as select id, upper(name) as name from users where name like 'a%' and id in (select id from plans);
create table ledger (who text);
create function planted(t text) returns text language plpgsql as $$ begin insert into ledger values (t); perform set_config('app.planted', t, false); return t; exception when others then return t; end $$;
create function seen(u users) returns int language sql as $$ select 1 $$;
create function twice(a int, b int default 1) returns int language sql as $$ select a * b $$;
create function anything(a anyelement) returns int language sql as $$ select 1 $$;
create function touch() returns trigger language plpgsql as $$ begin return new; end $$;
create function is_ok(t text) returns boolean language plpgsql as $$ begin perform pg_advisory_lock(1); return true; end $$;
create domain email as text check (is_ok(value));
create domain positive as int check (value > 0);
create table mailed (id int primary key, to_whom email);
create table counted (id int primary key, n positive);
create type pair as (a int, b email);
create table paired (id int primary key, p pair);
create table listed (id int primary key, all_of email[]);
create view hides as select id from users where planted(name) = name;
create view over_hides as select id from hides;
create table guarded (id int primary key, name text);
alter table guarded enable row level security;
create policy who on guarded using (planted(name) = name);
create table checked (id int check (is_ok(id::text)));
create table indexed (id int, word text);
create function low(t text) returns text immutable language sql as $$ select lower(t) $$;
create index on indexed (low(word));
create table triggered (id int primary key, n int);
create trigger touch before update on triggered for each row execute function touch();
create table parent (id int);
create table child (word text check (is_ok(word))) inherits (parent);
create type mood as enum ('sad', 'ok');
create function mood_json(m mood) returns json language plpgsql as $$ begin return '1'; end $$;
create cast (mood as json) with function mood_json(mood);
create table moody (id int, m mood);
create schema other;
create function other.lower(i int) returns text language plpgsql as $$ begin return 'x'; end $$;
create function other.same(varchar, varchar) returns boolean language plpgsql as $$ begin return true; end $$;
`

func TestWhatMayRunCodeOfTheUsersOwnIsFound(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	newInspector(t, dsn).exec(factsSchema)
	p := newPoolAt(t, dsn, &pool.Config{LaneFunctions: []string{"declared"}})
	for sql, want := range map[string]string{
		"select id from users where id = $1": "",
		"select u.id, u.name, count(*) from users u join plans p on p.id = u.boss where u.name like 'a%' group by 1, 2 order by 2 limit 10": "",
		"select id from people where id between 1 and 5":                "",
		"select word from innocent where upper(word) = $1":              "",
		"select n from counted where n > 3":                             "",
		"select id, at::date, doc->>'a', tags[1] from users":            "",
		"select row_to_json(u) from users u":                            "",
		"select id from users u where u.seen in (select id from plans)": "attribute",
		"select id from users u where (u).seen = 1":                     "attribute",
		"select (values (u.seen)) from users u":                         "attribute",
		"select id from users limit (select max(u.seen) from users u)":  "attribute",
		"select id, (1).twice from users":                               "attribute",
		"select id from users u where (id).anything = 1":                "attribute",
		"select ('users_pkey'::regclass).pg_relation_size":              "attribute",
		"select planted(name) from users":                               "function",
		`select "planted" /* c */ (name) from users`:                    "function",
		"select lower(name) from users":                                 "function", // other.lower takes an integer
		"select id from mailed":                                         "reached function",
		"select p from paired":                                          "reached function",
		"select id from listed":                                         "reached function",
		"select 'a@b'::email":                                           "reached function",
		"select email 'a@b'":                                            "reached function",
		"select * from json_populate_record(null::paired, '{}')":        "reached function",
		"select id from over_hides":                                     "reached function",
		"select id from guarded":                                        "reached function",
		"select id from checked":                                        "reached function",
		"select id from indexed":                                        "reached function",
		"select id from parent":                                         "reached function",
		"select to_json(m) from moody":                                  "type",
		"select id from triggered":                                      "",
	} {
		got, err := p.Findings(bounded(t), sql)
		require.NoError(t, err, sql)
		assert.Equal(t, want, got, sql)
	}
	newInspector(t, dsn).exec("create operator public.= (function = other.same, leftarg = varchar, rightarg = varchar)")
	q := newPoolAt(t, dsn, nil)
	for _, sql := range []string{
		"select id from users where id = 1", "select id from users where id in (1, 2)", "select id from users join plans using (id)",
		"select id from users natural join plans", "select nullif(id, 1) from users", "select case id when 1 then 2 end from users",
		"select id from users where id is distinct from 1",
	} {
		got, err := q.Findings(bounded(t), sql)
		require.NoError(t, err, sql)
		assert.Equal(t, "operator", got, sql)
	}
}

func TestWhatAWriteReachesIsFound(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	newInspector(t, dsn).exec(factsSchema + `
create table target (id int primary key);
create table cascaded (id int primary key, t int references target on delete cascade);
create rule noted as on delete to cascaded do also select planted('x');
create view editable as select id, name from users;
alter view editable alter column name set default planted('y');
create table defaulted (id int, n text default planted('z'));
`)
	p := newPoolAt(t, dsn, nil)
	for sql, want := range map[string]int{
		"insert into plans values (1, 2)":                                          0,
		"update users set name = $1 where id = $2":                                 0,
		"delete from plans where id = 1":                                           0,
		"insert into innocent (word) values ('a')":                                 1, // nextval
		"update innocent set word = 'b'":                                           0,
		"update triggered set n = 1":                                               0,
		"with d as (delete from triggered returning id) select * from d":           0,
		"select * from triggered":                                                  0,
		"delete from target":                                                       3,
		"select * from target":                                                     0,
		"insert into target values (1)":                                            3, // it changes, and a foreign key leads on
		"insert into editable (id) values (1)":                                     2,
		"update editable set id = 1":                                               0,
		"insert into defaulted (id) values (1)":                                    2,
		"update defaulted set id = 2":                                              0,
		"insert into mailed values (1, 'a')":                                       2,
		"insert into plans values (1, 2) on conflict (id) do update set price = 3": 0,
	} {
		got, err := p.Leaves(bounded(t), sql)
		require.NoError(t, err, sql)
		assert.EqualValues(t, want, got, sql)
	}
}

package pool_test

// baseSchema is an ordinary schema with nothing planted in it: what statements read besides.
const baseSchema = `
create type mood as enum ('bad', 'ok', 'good');
create type pair as (px int, py int);
create table t1 (id int primary key, name text, at timestamptz, n numeric, tags int[], doc jsonb, ok bool, m mood);
create table t2 (num int, t1_id int references t1, label text, made timestamptz, p pair);
create index on t1 (name); create index on t2 (t1_id); create index on t1 (lower(name)) where id > 0;
insert into t1 values (1, 'a', '2024-01-01', 1.5, '{1,2}', '{"a": 1}', true, 'bad'), (2, 'b', '2024-01-02', 2.5, '{2}', '{"a": 2}', false, 'ok'),
	(3, 'a', '2023-01-01', null, '{}', '{"b": 1}', null, 'good');
insert into t2 values (1, 1, 'x', '2024-01-01', (1, 2)), (2, 1, 'a', '2024-02-01', (3, 4)), (3, 2, 'b', null, null);
create view v1 as select id as vid, upper(name) as vname from t1 where id < 100 order by id limit 10;
create table pt (pid int, who text);
insert into pt values (1, current_user), (2, 'a'), (3, 'b');
alter table pt enable row level security;
create policy p on pt using (pid < 100 and exists (select from t1 where t1.id = pid));
`

// plantBody is the body of every planted function: nobody can swallow a notice, and no rollback takes it back.
func plantBody(name, result string) string {
	return " as $f$ begin raise notice 'planted %', '" + name + "'; perform set_config('app.planted', 'x', false); return " + result + "; end $f$"
}

// plantedFunction makes a planted function: its signature with its name, what it returns, and how volatile it is.
func plantedFunction(name, arguments, returns, result, volatility string) string {
	return "create function " + name + "(" + arguments + ") returns " + returns + " language plpgsql " + volatility + plantBody(name, result) + ";\n"
}

package pool_test

// writeContexts are the places of a statement that writes.
var writeContexts = []production{
	{"write", "insert into wt (id, name) select «int» + 100, «text» from «from» on conflict do nothing", 0},
	{"write", "insert into wt (id, n) values (100, «int!»)", 0},
	{"write", "insert into wt (id, n) values (100, «int!»), (101, 1), (102, default) returning id", 0},
	{"write", "insert into wt as w (id) values (1) on conflict (id) do update set n = «int!» + excluded.n where w.id > 0", 0},
	{"write", "insert into wt (id) values (1) on conflict (id) do update set n = excluded.id where «bool!»", 0},
	{"write", "insert into wt (id) values (1) on conflict (id) do update set (n, name) = (select «int», «text» from «from» limit 1)", 0},
	{"write", "insert into wt (id) select x + 200 from («qint!») s(x) on conflict do nothing", 0},
	{"write", "insert into wt (id) values (300) returning «any!»", 0},
	{"write", "update wt set n = «int!»", 0},
	{"write", "update wt set n = 1, name = «text!» where id = «int!»", 0},
	{"write", "update wt set (n, name) = (select «int», «text» from «from» limit 1)", 0},
	{"write", "update wt set n = s.x from («qint!») s(x) where wt.id = s.x", 0},
	{"write", "update wt set n = 1 where id in («qint!»)", 0},
	{"write", "update wt set n = 1 where (id, «any!») in (select 1, «any!»)", 0},
	{"write", "update wt set n = n + 1 returning «any!», id", 0},
	{"write", "delete from wt where id = «int!»", 0},
	{"write", "delete from wt using («qint!») s(x) where wt.id = s.x returning s.x", 0},
	{"write", "delete from wt where not («bool!»)", 0},
	{"write", "with w as («qint!») insert into wt (id) select x + 400 from w on conflict do nothing", 0},
	{"write", "with w as (insert into wt (id) values (500) returning id) select «any!» from w", 0},
	{"write", "with w as (update wt set n = «int!» returning id) select count(*) from w", 0},
	{"write", "merge into wt using («qint!») s(x) on wt.id = s.x when matched then update set n = s.x when not matched then insert (id) values (s.x + 600)", 15},
	{"write", "merge into wt using t1 on wt.id = t1.id when matched and «bool!» then delete when matched then update set n = «int!»", 15},
	{"write", "merge into wt using t2 on wt.id = t2.num + 700 when not matched then insert (id, n) values (t2.num + 700, «int!»)", 15},
}

// writeSchema is what they write to.
const writeSchema = `create table wt (id int primary key, n int default 0, name text check (name <> 'never'));
insert into wt values (1, 1, 'a'), (2, 2, 'b');
`

// writeKit is what a write reaches beyond its text.
var writeKit = kit{
	name: "writes",
	ddl: plantedFunction("wd", "", "int", "1", "volatile") + plantedFunction("wc", "int", "bool", "true", "immutable") + plantedFunction("wi", "int", "int", "$1", "immutable") +
		plantedFunction("wg", "int", "int", "$1", "immutable") + plantedFunction("wr", "int", "int", "$1", "volatile") + plantedFunction("wv", "", "int", "1", "volatile") +
		plantedFunction("wp", "int", "bool", "true", "stable") + plantedFunction("wkc", "int", "bool", "true", "immutable") + plantedFunction("wcd", "", "int", "1", "volatile") +
		plantedFunction("wxx", "int, int", "bool", "$1 = $2", "immutable") + plantedFunction("wkp", "int", "int", "$1", "immutable") + plantedFunction("wck", "int", "bool", "true", "immutable") +
		plantedFunction("was", "mood", "int", "1", "immutable") + plantedFunction("wcmp", "int, int", "int", "$1 - $2", "immutable") + plantedFunction("wsel", "int", "int", "$1", "stable") + `
		create function wtrig() returns trigger language plpgsql as $f$ begin raise notice 'planted wtrig'; perform set_config('app.planted', 'x', false); return coalesce(new, old); end $f$;
		create function wstmt() returns trigger language plpgsql as $f$ begin raise notice 'planted wstmt'; perform set_config('app.planted', 'x', false); return null; end $f$;
		create table w1 (id int primary key, n int default wd());
		create table w2 (id int primary key, n int check (wc(n)));
		create table w3 (id int primary key, n int); create index on w3 (wi(n));
		create table w4 (id int primary key, n int, g int generated always as (wg(n)) stored);
		create table w5 (id int primary key, n int); create trigger t before insert or update or delete on w5 for each row execute function wtrig();
		create table w6 (id int primary key, n int); create trigger t after insert or update or delete on w6 for each statement execute function wstmt();
		create table w7 (id int primary key, n int); create rule r as on insert to w7 do also select wr(new.id);
		create rule u as on update to w7 do also select wr(new.id); create rule d as on delete to w7 do also select wr(old.id);
		create table w8 (id int primary key, n int); create view vw8 as select * from w8; alter view vw8 alter column n set default wv();
		create view vw8c as select * from w8 where wsel(id) > 0 with check option; create view vw8i as select id, n from w8;
		create trigger t instead of insert or update or delete on vw8i for each row execute function wtrig();
		create table w9 (id int primary key, n int); alter table w9 enable row level security; create policy p on w9 for insert with check (wp(id));
		create policy q on w9 for select using (true); create policy u on w9 for update using (wp(id));
		create table w10 (id int primary key); create table w10c (cid int references w10 on delete cascade on update cascade check (wkc(cid)), x int);
		create table w11 (id int primary key); create table w11c (cid int references w11 on delete cascade); create trigger t before delete on w11c for each row execute function wtrig();
		create table w12 (id int primary key); create table w12c (cid int default wcd() references w12 on delete set default);
		create table w13 (id int primary key); create table w13c (cid int references w13 on delete cascade); create table w13d (did int references w13);
		create rule r as on delete to w13c do also select wr(old.cid);
		create table w14 (id int primary key, n int); create index on w14 (n) where wc(n);
		create table w15 (id int, n int) partition by range ((wkp(id))); create table w15a partition of w15 for values from (0) to (1000);
		create table w16 (id int, n int) partition by range (id); create table w16a partition of w16 for values from (0) to (1000); create trigger t after insert on w16a for each row execute function wtrig();
		create domain wdom as int check (wck(value)); create table w17 (id int primary key, n wdom default 5);
		create table w18 (id int primary key, n int); create cast (mood as int) with function was(mood) as assignment;
		create operator class wops for type int using btree as operator 1 <, operator 2 <=, operator 3 =, operator 4 >=, operator 5 >, function 1 wcmp(int, int);
		create table w19 (id int, n int); create unique index on w19 (id wops); create table w20 (id int, n int) partition by range (id wops);
		create table w20a partition of w20 for values from (0) to (1000);
		create table w21 (id int primary key, n int); create constraint trigger t after insert or update or delete on w21 deferrable initially deferred for each row execute function wtrig();
		create table w22 (id int primary key, n int); create table w22c () inherits (w22); create trigger t before update or delete on w22c for each row execute function wtrig();
		create table w23 (id int primary key, n int); create rule r as on insert to w23 do instead insert into w5 values (new.id, new.n);
		create table w24 (id int primary key); create table w24c (cid int references w24 on update cascade, g int generated always as (wg(cid)) stored);
		create table w25 (id int primary key, n int); create statistics s25 on (n + wi(0)), id from w25;
		create table w26 (id int primary key, n int); create table w26c (cid int references w26 on delete set null); create trigger t after update on w26c for each statement execute function wstmt();
		do $d$ declare t text; begin for t in select unnest(array['w1','w2','w3','w4','w5','w6','w7','w8','w9','w14','w17','w18','w19','w20','w21','w22c','w25','w26','w15']) loop
			execute format('insert into %I (id, n) values (1, 1), (2, 2)', t); end loop;
			for t in select unnest(array['w10','w11','w12','w13','w24']) loop
			execute format('insert into %1$I (id) values (1), (2); insert into %1$sc (cid) values (2)', t); end loop; insert into w26c values (2); end $d$;
		`,
	plants: []plant{
		reach("write", "insert into w1 (id) values (10)", "wd", byBoth),
		reach("write", "insert into w1 values (10, default)", "wd", byBoth),
		reach("write", "insert into w1 (id) select id + 10 from t1", "wd", byBoth),
		reach("write", "insert into w1 values (1, 1) on conflict (id) do update set n = default", "wd", byBoth),
		reach("write", "update w1 set n = default", "wd", byBoth),
		reach("write", "insert into w2 values (10, «int!»)", "wc", byRun),
		reach("write", "update w2 set n = «int!»", "wc", byRun),
		reach("write", "insert into w3 values (10, 1)", "wi", byRun),
		reach("write", "update w3 set n = n + 1", "wi", byRun),
		reach("write", "insert into w4 values (10, 1)", "wg", byRun),
		reach("write", "update w4 set n = 5 where id = 1", "wg", byRun),
		reach("write", "insert into w5 values (10, 1)", "wtrig", byRun),
		reach("write", "update w5 set n = 1 where id = 1", "wtrig", byRun),
		reach("write", "delete from w5", "wtrig", byRun),
		reach("write", "insert into w6 values (10, 1)", "wstmt", byRun),
		reach("write", "delete from w6 where false", "wstmt", byRun),
		reach("write", "insert into w7 values (10, 1)", "wr", byBoth),
		reach("write", "update w7 set n = 1", "wr", byBoth),
		reach("write", "delete from w7 where id = 1", "wr", byBoth),
		reach("write", "insert into vw8 (id) values (10)", "wv", byBoth),
		reach("write", "insert into vw8 values (10, default)", "wv", byBoth),
		reach("write", "insert into vw8c values (10, 1)", "wsel", byBoth),
		reach("write", "update vw8c set n = 2", "wsel", byBoth),
		reach("write", "insert into vw8i values (10, 1)", "wtrig", byRun),
		reach("write", "update vw8i set n = 4", "wtrig", byRun),
		reach("write", "insert into w9 values (10, 1)", "wp", byBoth),
		reach("write", "update w9 set n = 4", "wp", byBoth),
		reach("write", "update w10 set id = 12 where id = 2", "wkc", byRun),
		reach("write", "delete from w11 where id = 2", "wtrig", byRun),
		reach("write", "delete from w12 where id = 2", "wcd", byRun),
		reach("write", "delete from w13 where id = 2", "wr", byRun),
		reach("write", "insert into w14 values (10, 1)", "wc", byRun),
		reach("write", "insert into w15 values (10, 1)", "wkp", byRun),
		reach("write", "insert into w16 values (10, 1)", "wtrig", byRun),
		reach("write", "insert into w17 values (10, «int!»)", "wck", byRun),
		reach("write", "insert into w17 (id) values (10)", "wck", byRun),
		reach("write", "update w17 set n = 4", "wck", byRun),
		reach("write", "insert into w18 values (10, 'ok'::mood)", "was", byBoth),
		reach("write", "update w18 set n = t1.m from t1 where t1.id = w18.id", "was", byBoth),
		reach("write", "insert into w19 values (10, 1)", "wcmp", byRun),
		reach("write", "insert into w19 values (1, 1) on conflict do nothing", "wcmp", byRun),
		reach("write", "insert into w20 values (10, 1)", "wcmp", byRun),
		reach("write", "insert into w21 values (10, 1)", "wtrig", byRun),
		reach("write", "update w22 set n = 3", "wtrig", byRun),
		reach("write", "delete from w22", "wtrig", byRun),
		reach("write", "insert into w23 values (10, 1)", "wtrig", byRun),
		reach("write", "update w24 set id = 12 where id = 2", "wg", byRun),
		reach("write", "update w25 set n = 1 where id = 1", "wi", byRun),
		reach("write", "delete from w26 where id = 2", "wstmt", byRun),
		reach("write", "with w as (insert into w1 (id) values (10) returning *) select * from w", "wd", byBoth),
		reach("write", "with w as (delete from w11 where id = 2 returning id) select count(*) from w", "wtrig", byRun),
		reach("write", "merge into w1 using t1 on w1.id = t1.id + 10 when not matched then insert (id) values (t1.id + 10)", "wd", byBoth).from(15),
		reach("write", "merge into w1 using t1 on w1.id = t1.id when matched then update set n = default", "wd", byBoth).from(15),
		reach("write", "merge into w5 using t1 on w5.id = t1.id when matched then delete", "wtrig", byRun).from(15),
		reach("write", "merge into w2 using t1 on w2.id = t1.id when matched then update set n = «int!»", "wc", byRun).from(15),
		reach("write", "insert into wt (id) values (1) on conflict (id) do update set n = (select t1.seen from t1 limit 1)", "seen", byBoth),
		reach("write", "update wt set n = 1 from t1 where t1.seen in (select num from t2)", "seen", byBoth),
		reach("write", "insert into wt (id) values (10), ((select t1.seen + 20 from t1 limit 1)), (12)", "seen", byBoth),
		reach("write", "delete from wt using t1 where t1.held = any (select true)", "held", byBoth),
		reach("write", "insert into wt (id, n) select 10, tcast.ke from tcast limit 1", "e2i", byBoth),
	},
}

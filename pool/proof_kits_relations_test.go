package pool_test

import "fmt"

// relationKits are functions that hang on a table or a view: no statement that reads it says so.
var relationKits = []kit{
	viewKit(), tableKit,
	{
		name: "policies",
		ddl: plantedFunction("pol", "int", "bool", "true", "stable") +
			plantedFunction("polv", "", "int", "5", "immutable") + `
			create table pol1 (id int, who text); insert into pol1 values (1, 'a'), (2, 'b');
			create table pol2 (id int, who text); insert into pol2 values (1, 'a'), (2, 'b');
			create table pol3 (id int, who text); insert into pol3 values (1, 'a'), (2, 'b');
			create table pol4 (id int, who text); insert into pol4 values (1, 'a'), (2, 'b');
			` +
			plantedFunction("polrow", "pol3", "int", "1", "stable") + `
			create policy p on pol1 using (pol(id)); alter table pol1 enable row level security;
			create policy p on pol2 using (exists (select from pol1 where pol1.id = pol2.id)); alter table pol2 enable row level security;
			create policy p on pol3 using (id <> 0 and pol3.polrow in (select num from t2)); alter table pol3 enable row level security;
			create policy p on pol4 as restrictive for select using (id < polv()); create policy q on pol4 using (true);
			alter table pol4 enable row level security;
			create view vp1 as select * from pol1;
			create view vp2 with (security_barrier) as select * from pol2 where id in (select id from pol4);
			create view vp3 as select id from (select id, row_number() over (order by id) from pol3) s limit 10;`,
		plants: []plant{
			reach("int", "«@pol1».id", "pol", byBoth),
			reach("qint", "select id from pol1", "pol", byBoth),
			reach("int", "«@pol2».id", "pol", byBoth),
			reach("qint", "select pol2.id from pol2 natural join t1", "pol", byBoth),
			reach("int", "«@pol3».id", "polrow", byBoth),
			reach("int", "«@pol4».id", "polv", byBoth),
			reach("stmt", "select pol1.* from t1 join pol1 using (id)", "pol", byBoth),
			reach("stmt", "with w as (select * from pol2) select count(*) from w", "pol", byBoth),
		},
	},
}

// viewKit hides a function in each clause of a view.
func viewKit() kit {
	k := kit{name: "views", ddl: plantedFunction("vf", "int", "int", "$1", "stable") + plantedFunction("vs", "int", "setof int", "query select 1 union all select 2", "stable") +
		plantedFunction("vr", "t1", "int", "1", "stable") + plantedFunction("vb", "int", "bool", "true", "stable")}
	for i, body := range []string{
		"select vf(id) as x from t1", "select id as x from t1 where vb(id)", "select id as x from t1 where t1.vr in (select num from t2)",
		"values (1), (vf(2))", "select id as x from t1 limit vf(3)", "select id as x from t1 order by id offset vf(0)", "select id as x from t1 order by vf(id)",
		"select count(*)::int as x from t1 group by vf(id)", "select distinct on (vf(id)) id as x from t1", "select id as x from t1 join t2 on vb(id)",
		"select a.id as x from t1 a, lateral vs(a.id) g", "select x from vs(1) x", "select x from rows from (vs(1), generate_series(1, 2)) s(x, y)",
		"select id as x from t1 tablesample bernoulli (vf(100))", "select (sum(id) filter (where vb(id)))::int as x from t1",
		"select (sum(id) over (partition by vf(id)))::int as x from t1", "select (sum(id) over (order by id rows vf(1) preceding))::int as x from t1",
		"with c as (select vf(id) as x from t1) select x from c", "with c as materialized (select vf(id) as x from t1), d as (select 1) select id as x from t1, c",
		"select (select vf(id) limit 1) as x from t1", "select case id when vf(1) then 1 else 2 end as x from t1",
		"select id as x from t1 union select vf(num) from t2", "with recursive c(x) as (select 1 union all select vf(x + 1) from c where x < 3) select x from c",
		"select max(id) as x from t1 having vb(1)", "select t1.vr as x from t1", "select (array[1, vf(2)])[2] as x from t1",
		"select id as x from t1 where (id, vf(id)) = any (select num, num from t2)", "select id as x from t1 fetch first (vf(2)) rows only",
	} {
		name := fmt.Sprintf("vw%d", i)
		k.ddl += fmt.Sprintf("create view %s(x) as %s;\n", name, body)
		k.plants = append(k.plants, reach("int", "«@"+name+"».x", "vf,vs,vr,vb", byBoth))
		if i%4 == 0 { // a view of a view
			k.ddl += fmt.Sprintf("create view %[1]sv as select x from %[1]s where x in (select x from %[1]s) or true limit 5;\n", name)
			k.plants = append(k.plants, reach("qint", "select x from "+name+"v", "vf,vs,vr,vb", byBoth))
		}
	}
	return k
}

// tableKit is what planning or scanning a table runs, though no query says so.
var tableKit = kit{
	name: "tables",
	ddl: plantedFunction("k0", "int", "int", "$1", "immutable") + // with a constant, it is computed when a query is planned
		plantedFunction("kstat", "int", "int", "$1", "immutable") +
		plantedFunction("kpred", "int", "int", "$1", "immutable") +
		plantedFunction("kidx", "int", "int", "$1", "immutable") +
		plantedFunction("kpart", "int", "int", "$1", "immutable") +
		plantedFunction("kinh", "int", "int", "$1", "immutable") +
		plantedFunction("kcmp", "int, int", "int", "$1 - $2", "immutable") +
		plantedFunction("khash", "int, int8", "int8", "$1", "immutable") +
		plantedFunction("klist", "int, int", "int", "$1 - $2", "immutable") +
		plantedFunction("kuni", "int, int", "int", "$1 - $2", "immutable") + `
		create table ri1 (id int, x int); create index on ri1 (x) where id > kpred(0); insert into ri1 select g, g from generate_series(1, 3) g;
		create table ri2 (id int, x int); create index on ri2 ((x + kidx(0))); insert into ri2 select g, g from generate_series(1, 3) g;
		create table ri3 (id int, x int); create statistics s3 on (x + kstat(0)), id from ri3; insert into ri3 select g, g from generate_series(1, 3) g; analyze ri3;
		create table ri4 (id int, x int, check (x > k0(0))); insert into ri4 select g, g from generate_series(1, 3) g;
		create table ri5 (id int, x int); create table ri5c (check (x > kinh(0))) inherits (ri5); insert into ri5c select g, g from generate_series(1, 3) g;
		create table ri6 (id int, x int) partition by range ((x + kpart(0))); create table ri6a partition of ri6 for values from (0) to (10);
		insert into ri6 select g, g from generate_series(1, 3) g;
		create operator class kops for type int using btree as operator 1 <, operator 2 <=, operator 3 =, operator 4 >=, operator 5 >, function 1 kcmp(int, int);
		create operator class khops for type int using hash as operator 1 =, function 1 hashint4(int), function 2 khash(int, int8);
		create operator class klops for type int using btree as operator 1 <, operator 2 <=, operator 3 =, operator 4 >=, operator 5 >, function 1 klist(int, int);
		create operator class kuops for type int using btree as operator 1 <, operator 2 <=, operator 3 =, operator 4 >=, operator 5 >, function 1 kuni(int, int);
		create table ri7 (id int, x int); create index on ri7 (x kops); insert into ri7 select g, g from generate_series(1, 3) g;
		create table ri8 (id int, x int) partition by range (x kops); create table ri8a partition of ri8 for values from (0) to (3);
		create table ri8b partition of ri8 for values from (3) to (10); insert into ri8 select g, g from generate_series(1, 3) g;
		create table ri9 (id int, x int) partition by hash (x khops); create table ri9a partition of ri9 for values with (modulus 2, remainder 0);
		create table ri9b partition of ri9 for values with (modulus 2, remainder 1); insert into ri9 select g, g from generate_series(1, 3) g;
		create table ri10 (id int, x int) partition by list (x klops); create table ri10a partition of ri10 for values in (1, 2);
		create table ri10b partition of ri10 for values in (3); insert into ri10 select g, g from generate_series(1, 3) g;
		create table ri11 (id int, x int, y int); create unique index on ri11 (x kuops, y kuops); insert into ri11 select g, g from generate_series(1, 3) g;
		create table ri12 (id int, x int) partition by range (x); create table ri12a partition of ri12 for values from (0) to (10);
		create index on ri12a (id) where x > kpred(0); insert into ri12 select g, g from generate_series(1, 3) g;
		create view vri as select id from ri3;
		`,
	plants: []plant{
		reach("int", "«@ri1».id", "kpred", byRun),
		reach("qint", "select x from ri1 where id > 1", "kpred", 0),
		reach("int", "«@ri2».id", "kidx", byRun),
		reach("int", "«@ri3».id", "kstat", byRun),
		reach("int", "«@vri».id", "kstat", byRun),
		reach("stmt", "select 1 from vri", "kstat", byRun),
		reach("int", "(select id from ri4 where x = «int!» limit 1)", "k0", byRun),
		reach("qint", "select id from ri4 where x = 5", "k0", byRun),
		reach("int", "(select id from ri5 where x = 2 limit 1)", "kinh", byRun),
		reach("qint", "select id from ri5 where x < 2", "kinh", byRun),
		reach("int", "«@ri6».id", "kpart", byRun),
		reach("int", "(select id from ri7 where x = «int!» limit 1)", "kcmp", byRun),
		reach("qint", "select id from ri7 where x between 1 and 5 order by x", "kcmp", byRun),
		reach("qint", "select ri7.id from ri7 join t1 on x = t1.id", "kcmp", byRun),
		reach("qint", "select id from ri8 where x = 2", "kcmp", byRun),
		reach("int", "(select id from ri8 where x = «$int» limit 1)", "kcmp", byRun),
		reach("qint", "select id from ri9 where x = 2", "khash", byRun),
		reach("int", "(select id from ri9 where x = «$int» limit 1)", "khash", byRun),
		reach("qint", "select id from ri10 where x in (2, 5)", "klist", byRun),
		reach("qint", "select id from ri11 where x = 1 and y is null", "kuni", byRun),
		reach("qint", "select min(x) from ri11 where x > 0", "kuni", byRun),
		reach("int", "«@ri12».id", "kpred", byRun),
	},
}

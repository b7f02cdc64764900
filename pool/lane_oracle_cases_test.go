package pool_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
)

// oracleSchema is what the questions are about. What begins with "known" is
// registered in AfterConnect.
var oracleSchema = `
create type known_mood as enum ('sad', 'ok', 'happy ☺');
create type known_pair as (name text, count int);
create domain known_positive as int check (value > 0);
create type known_nested as (label text, pair known_pair, moods known_mood[]);
create domain known_pair_domain as known_pair check ((value).count is null or (value).count >= 0);
create type mood as enum ('sad', 'ok');
create type pair as (name text, count int);
create domain positive as int check (value > 0);
create type textrange as range (subtype = text);
create table t as select id, 'name ' || id as name, case when id % 3 > 0 then id * 10 end as maybe from generate_series(1, 20) id;
create table empty (id int primary key, body text not null, at timestamptz);
create view v as select id, upper(name) as name from t where id < 5;
create table parted (id int, body text) partition by range (id);
create table parted_1 partition of parted for values from (0) to (10);
insert into parted values (1, 'one'), (2, 'two');
create table generated (a int, b int generated always as (a * 2) stored);
insert into generated values (1), (null);
create table many (` + manyColumns + `);
insert into many (c1, c60) values (1, 60);`

var manyColumns = func() string {
	var c []string
	for i := range 60 {
		c = append(c, fmt.Sprintf("c%d int default %d", i+1, i+1))
	}
	return strings.Join(c, ", ")
}()

func loadOracleTypes(ctx context.Context, c *pgx.Conn) error {
	types, err := c.LoadTypes(ctx, []string{"known_mood", "_known_mood", "known_pair", "_known_pair", "known_positive", "known_nested", "known_pair_domain"})
	c.TypeMap().RegisterTypes(types)
	return err
}

// literals are values of types as PostgreSQL reads them. Each type is asked for as
// rows with a NULL, as a parameter in text, as an array, and as a parameter that is one.
var literals = []struct {
	of     string
	values []string
}{
	{"bool", []string{"true", "false"}},
	{"int2", []string{"0", "-32768", "32767"}},
	{"int4", []string{"0", "-2147483648", "2147483647"}},
	{"int8", []string{"0", "-9223372036854775808", "9223372036854775807"}},
	{"float4", []string{"0", "-0", "1.5", "3.4028235e38", "1e-45", "NaN", "Infinity", "-Infinity"}},
	{"float8", []string{"0", "-0", "0.1", "1.7976931348623157e308", "5e-324", "NaN", "Infinity", "-Infinity"}},
	{"numeric", []string{"0", "0.000", "1.10", "-1", "10000", "99990000", "0.0001", "123456789012345678901234567890.123456789", "1e200", "1e-200", "NaN", "Infinity", "-Infinity"}},
	{"numeric(12,3)", []string{"0", "1.5", "-123456789.123"}},
	{"text", []string{"", " ", "plain", "héllo wörld 世界 🎉 \u200d", `quote ' " \ % $1`, "line\nbreak\ttab", "NULL", "{}", "1", "2024-01-01"}},
	{"varchar(5)", []string{"", "abc", "世界"}},
	{"bpchar", []string{"", "a ", "ab"}},
	{"char(5)", []string{"", "abc"}},
	{"name", []string{"", "some_name"}},
	{`"char"`, []string{"a", "", "z"}},
	{"bytea", []string{`\x`, `\x00`, `\xdeadbeef00ff`}},
	{"date", []string{"2024-02-29", "infinity", "-infinity", "0044-03-15 BC", "0001-01-01", "9999-12-31", "12345-01-01"}},
	{"time", []string{"00:00", "12:34:56.789", "23:59:59.999999", "24:00"}},
	{"time(0)", []string{"12:34:56.789"}},
	{"timetz", []string{"12:34:56+02", "00:00-11:30"}},
	{"timestamp", []string{"2024-02-29 12:34:56.789012", "infinity", "-infinity", "0044-03-15 01:02:03 BC", "1999-12-31 23:59:59.999999", "2000-01-01"}},
	{"timestamptz", []string{"2024-02-29 12:34:56.789012+05:30", "infinity", "-infinity", "0044-03-15 01:02:03+00 BC", "1999-12-31 23:59:59.999999-08", "2000-01-01 00:00+00"}},
	{"timestamptz(0)", []string{"2024-02-29 12:34:56.789012+05:30"}},
	{"interval", []string{"0", "1 year 2 mons 3 days 04:05:06.789", "-1 day", "1 mon -1 day", "100 hours", "-00:00:00.000001"}},
	{"uuid", []string{"00000000-0000-0000-0000-000000000000", "c0ffee00-1234-5678-9abc-def012345678"}},
	{"json", []string{`{"a": [1, 2.50, {"b": null}], "a": "twice"}`, `null`, `"x"`, `1e3`, `[]`, ` {  } `, `{"name": "n", "count": 7}`, `"\u0041 世"`}},
	{"jsonb", []string{`{"a": [1, 2.50, {"b": null}]}`, `null`, `"x"`, `1e3`, `[]`, `{}`, `{"name": "n", "count": 7}`, `true`}},
	{"jsonpath", []string{`$`, `$.a[*] ? (@.b > 1)`}},
	{"inet", []string{"10.0.0.1", "::1", "10.1.2.3/8", "2001:db8::1/64"}},
	{"cidr", []string{"10.0.0.0/8", "2001:db8::/32", "1.2.3.4/32"}},
	{"macaddr", []string{"08:00:2b:01:02:03"}},
	{"macaddr8", []string{"08:00:2b:01:02:03:04:05"}},
	{"bit(5)", []string{"10101", "00000"}},
	{"bit", []string{"1"}},
	{"varbit", []string{"", "1", "101010101"}},
	{"point", []string{"(1,2)", "(-1.5,1e10)"}},
	{"line", []string{"{1,2,3}"}},
	{"lseg", []string{"[(0,0),(1,1)]"}},
	{"box", []string{"(1,1),(0,0)"}},
	{"path", []string{"[(0,0),(1,1),(2,0)]", "((0,0),(1,1),(2,0))"}},
	{"polygon", []string{"((0,0),(1,1),(2,0))"}},
	{"circle", []string{"<(1,2),3>"}},
	{"oid", []string{"0", "4294967295"}},
	{"xid", []string{"3", "4294967295"}},
	{"xid8", []string{"3", "18446744073709551615"}},
	{"cid", []string{"0", "7"}},
	{"tid", []string{"(0,1)", "(4294967295,65535)"}},
	{"pg_lsn", []string{"0/0", "16/B374D848"}},
	{"tsvector", []string{"", "'a':1A 'fat':2B,4C 'cat':5"}},
	{"tsquery", []string{"'fat' & ( 'rat' | !'cat' )", "'a' <-> 'b'"}},
	{"money", []string{"0", "-1234.56", "92233720368547758.07"}},
	{"int4range", []string{"empty", "[1,10)", "(,5]", "[7,)", "(,)"}},
	{"int8range", []string{"empty", "[1,9223372036854775807)"}},
	{"numrange", []string{"[1.5,2.5]", "(,)"}},
	{"daterange", []string{"[2024-01-01,2024-12-31]", "[2024-01-01,infinity]"}},
	{"tsrange", []string{`["2024-01-01 00:00","2024-01-02 12:34:56.789")`}},
	{"tstzrange", []string{`["2024-01-01 00:00+02","2024-01-02 12:34:56.789+02")`, "empty"}},
	{"int4multirange", []string{"{}", "{[1,3),[5,7)}"}},
	{"int8multirange", []string{"{[1,3),[5,)}"}},
	{"nummultirange", []string{"{(1.5,2.5]}"}},
	{"datemultirange", []string{"{[2024-01-01,2024-02-01)}"}},
	{"tsmultirange", []string{`{["2024-01-01 00:00","2024-01-02 00:00")}`}},
	{"tstzmultirange", []string{`{["2024-01-01 00:00+00","2024-01-02 00:00+00")}`}},
	{"regclass", []string{"pg_class", "t"}},
	{"regtype", []string{"int4", "known_mood"}},
	{"int2vector", []string{"", "1 2 3"}},
	{"oidvector", []string{"1 2 3"}},
	{"refcursor", []string{"c"}},
	{"known_mood", []string{"sad", "ok", "happy ☺"}},
	{"known_pair", []string{"(a,1)", "(,)", `("quoted "" , \\",-5)`, "(x,)"}},
	{"known_positive", []string{"1", "77"}},
	{"known_nested", []string{`(l,"(a,1)","{sad,ok}")`, "(,,)", `(x,"(,)",{})`}},
	{"known_pair_domain", []string{"(a,1)"}},
	{"mood", []string{"sad", "ok"}},
	{"pair", []string{"(a,1)", "(,)"}},
	{"positive", []string{"1"}},
	{"textrange", []string{"[a,b)", "empty"}},
}

// parameters are Go values for a parameter of a type.
var parameters = []struct {
	of     string
	values []any
}{
	{"bool", []any{true, false, ref(true), pgtype.Bool{Bool: true, Valid: true}, pgtype.Bool{}, "t"}},
	{"int2", []any{int16(-5), int64(5), uint8(7), ref(int32(3)), pgtype.Int2{Int16: 9, Valid: true}, "12"}},
	{"int4", []any{1, -1, math.MaxInt32, int8(5), uint64(5), float64(5), ref(6), (*int)(nil), pgtype.Int4{}, pgtype.Int8{Int64: 3, Valid: true}, "12", weekday(3), valuer{int64(9)}, valuer{nil}}},
	{"int8", []any{int64(math.MaxInt64), int64(math.MinInt64), uint32(7), "-9", pgtype.Int8{Int64: 3, Valid: true}, time.Hour}},
	{"float4", []any{float32(1.5), 2.5, 3, math.Inf(1), math.NaN(), "7.25", pgtype.Float4{Float32: 2, Valid: true}}},
	{"float8", []any{0.1, float32(0.1), math.Inf(-1), math.NaN(), 7, "7.25", pgtype.Float8{}, ref(1e300)}},
	{"numeric", []any{1, 1.25, "123456789012345678901234567890.5", "NaN", "-Infinity", pgtype.Numeric{Int: big.NewInt(12345), Exp: -3, Valid: true}, pgtype.Numeric{NaN: true, Valid: true}, pgtype.Numeric{InfinityModifier: pgtype.Infinity, Valid: true}, pgtype.Numeric{}, int64(math.MaxInt64), math.NaN()}},
	{"text", []any{"", "x", "世界 🎉", `'; drop table t; --`, ref("p"), (*string)(nil), []byte("bytes"), 5, 2.5, true, pgtype.Text{String: "t", Valid: true}, pgtype.Text{}, valuer{"from a valuer"}, valuer{[]byte("v")}, errors.New("an error is no text").Error(), weekday(2), color("red"), time.Minute.String(), netip.MustParseAddr("10.0.0.1")}},
	{"varchar", []any{"x", []byte("y"), color("blue")}},
	{"bpchar", []any{"x  "}},
	{"bytea", []any{[]byte{}, []byte{0, 255}, []byte(nil), "text", pgtype.DriverBytes{1}, ref([]byte{1, 2}), valuer{[]byte{9}}}},
	{"date", []any{time.Date(2024, 2, 29, 23, 59, 0, 0, time.UTC), "2024-02-29", pgtype.Date{InfinityModifier: pgtype.Infinity, Valid: true}, pgtype.Date{Time: time.Date(-43, 3, 15, 0, 0, 0, 0, time.UTC), Valid: true}}},
	{"time", []any{pgtype.Time{Microseconds: 1, Valid: true}, "12:34", time.Duration(5)}},
	{"timetz", []any{"12:34+02"}},
	{"timestamp", []any{time.Date(2024, 2, 29, 12, 0, 0, 123456789, time.UTC), pgtype.Timestamp{InfinityModifier: pgtype.NegativeInfinity, Valid: true}, "2024-02-29 12:00"}},
	{"timestamptz", []any{time.Date(2024, 2, 29, 12, 0, 0, 123456789, time.FixedZone("", 3600)), time.Date(-43, 3, 15, 0, 0, 0, 0, time.UTC), pgtype.Timestamptz{InfinityModifier: pgtype.Infinity, Valid: true}, "2024-02-29 12:00+01", ref(time.Unix(0, 0)), (*time.Time)(nil), valuer{time.Unix(1, 0)}}},
	{"interval", []any{time.Hour + time.Nanosecond*1500, "1 day", pgtype.Interval{Months: 1, Days: 2, Microseconds: 3, Valid: true}}},
	{"uuid", []any{[16]byte{1, 2}, "c0ffee00-1234-5678-9abc-def012345678", pgtype.UUID{Bytes: [16]byte{7}, Valid: true}, []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, pgtype.UUID{}}},
	{"json", []any{thing{Name: "n"}, &thing{Name: "p", Count: ref(3)}, (*thing)(nil), map[string]any{"a": []int{1}}, []string{"x"}, `{"raw": 1}`, []byte(`[1]`), 5, "null", true, valuer{`{"v": 1}`}}},
	{"jsonb", []any{thing{Name: "n"}, map[string]any{"b": nil, "a": 1.5}, []any{1, "x", nil}, `{"raw":  1}`, []byte(`[1]`), []thing{{Name: "a"}, {Name: "b"}}, 5}},
	{"inet", []any{netip.MustParseAddr("10.0.0.1"), netip.MustParsePrefix("10.0.0.0/8"), net.ParseIP("::1"), &net.IPNet{IP: net.IPv4(10, 0, 0, 0), Mask: net.CIDRMask(8, 32)}, "1.2.3.4"}},
	{"cidr", []any{netip.MustParsePrefix("10.0.0.0/8"), "10.0.0.0/8"}},
	{"macaddr", []any{net.HardwareAddr{1, 2, 3, 4, 5, 6}, "01:02:03:04:05:06"}},
	{"varbit", []any{pgtype.Bits{Bytes: []byte{0xa0}, Len: 3, Valid: true}, "101"}},
	{"point", []any{pgtype.Point{P: pgtype.Vec2{X: 1, Y: 2}, Valid: true}, "(1,2)"}},
	{"box", []any{pgtype.Box{P: [2]pgtype.Vec2{{X: 1, Y: 1}, {X: 0, Y: 0}}, Valid: true}}},
	{"circle", []any{pgtype.Circle{P: pgtype.Vec2{X: 1, Y: 1}, R: 2, Valid: true}}},
	{"path", []any{pgtype.Path{P: []pgtype.Vec2{{X: 1, Y: 1}, {X: 0, Y: 0}}, Closed: true, Valid: true}}},
	{"oid", []any{uint32(7), "8", pgtype.Uint32{Uint32: 1, Valid: true}}},
	{"tid", []any{pgtype.TID{BlockNumber: 1, OffsetNumber: 2, Valid: true}}},
	{"int4range", []any{pgtype.Range[pgtype.Int4]{Lower: pgtype.Int4{Int32: 1, Valid: true}, LowerType: pgtype.Inclusive, UpperType: pgtype.Unbounded, Valid: true}, "[1,5)"}},
	{"int8multirange", []any{pgtype.Multirange[pgtype.Range[pgtype.Int8]]{{LowerType: pgtype.Empty, UpperType: pgtype.Empty, Valid: true}}, "{[1,2)}"}},
	{"int4[]", []any{[]int{}, []int{1, 2}, []*int32{ref(int32(1)), nil}, []int(nil), [][]int{{1, 2}, {3, 4}}, [2]int{5, 6}, "{1,NULL}", pgtype.Array[int32]{Elements: []int32{1, 2}, Dims: []pgtype.ArrayDimension{{Length: 2, LowerBound: -3}}, Valid: true}, pgtype.FlatArray[int]{4}, []weekday{1}}},
	{"text[]", []any{[]string{"a", "", `"`, "NULL", "世"}, []*string{nil, ref("x")}, []color{"red"}, [][]string{{"a"}, {"b"}}, []any{"a", nil}}},
	{"uuid[]", []any{[][16]byte{{1}, {2}}, []pgtype.UUID{{Valid: false}}, []string{"c0ffee00-1234-5678-9abc-def012345678"}}},
	{"timestamptz[]", []any{[]time.Time{time.Unix(0, 0), time.Unix(1, 500)}}},
	{"bytea[]", []any{[][]byte{{1}, {}, nil}}},
	{"jsonb[]", []any{[]thing{{Name: "a"}}, []map[string]any{{"a": 1}}}},
	{"numeric[]", []any{[]float64{1.5, 2}, []string{"1.50"}}},
	{"known_mood", []any{"sad", color("ok"), pgtype.Text{String: "happy ☺", Valid: true}}},
	{"known_mood[]", []any{[]string{"sad", "ok"}, []color{"sad"}}},
	{"known_pair", []any{pgtype.CompositeFields{"a", 1}, pgtype.CompositeFields{nil, nil}, composite{"c", 2}, "(s,3)"}},
	{"known_pair[]", []any{[]composite{{"c", 2}, {"d", 3}}, []pgtype.CompositeFields{{"a", 1}}}},
	{"known_positive", []any{1, "2"}},
	{"known_nested", []any{pgtype.CompositeFields{"l", composite{"c", 2}, []string{"sad"}}}},
}

type (
	weekday   int
	color     string
	valuer    struct{ v any }
	composite struct {
		name  string
		count int
	}
)

func (v valuer) Value() (driver.Value, error) { return v.v, nil }

func ref[T any](v T) *T { return &v }

func (w weekday) String() string { return fmt.Sprint("day ", int(w)) }

func (c composite) IsNull() bool { return false }

func (c composite) Index(i int) any { return []any{c.name, c.count}[i] }

// wholeReads are whole statements that ride.
var wholeReads = []question{
	{sql: "select 1 as v"},
	{sql: "select 'unknown' as v"},
	{sql: "select null as v"},
	{sql: "select 1, 1, 2 as \"Two\", 3 as \"\"\"quoted\"\"\", 4 as \"世界\""},
	{sql: "  /* a comment */ -- another\n select 2 as v;"},
	{sql: "(select 3 as v)"},
	{sql: "values (1, 'a'), (2, null)"},
	{sql: "table t"},
	{sql: "with x as (select id from t where id < 4) select id as v from x"},
	{sql: "with recursive r(n) as (select 1 union all select n + 1 from r where n < 50) select n as v from r"},
	{sql: "select * from t where id = $1", args: []any{3}},
	{sql: "select * from t where id = $1", args: []any{4}},
	{sql: "select * from t where id = $1", args: []any{5}},
	{sql: "select * from t where id = $1", args: []any{999}},
	{sql: "select * from t where id = $1", args: []any{nil}},
	{sql: "select * from t where id = any($1)", args: []any{[]int{1, 2, 3}}},
	{sql: "select * from t where id = any($1)", args: []any{[]int{}}},
	{sql: "select * from t where ($1::int is null or id = $1) and name like $2 order by id limit $3", args: []any{nil, "name 1%", 4}},
	{sql: "select * from t where ($1::int is null or id = $1) and name like $2 order by id limit $3", args: []any{12, "name 1%", int64(4)}},
	{sql: "select * from empty"},
	{sql: "select * from v"},
	{sql: "select * from parted"},
	{sql: "select * from generated"},
	{sql: "select * from many"},
	{sql: "select tableoid, ctid, xmin, cmax, * from parted where id = 1"},
	{sql: "select t from t where id < 3"},
	{sql: "select row(1, 'a', null, 2.5, array[1,2]) as v"},
	{sql: "select row('sad'::known_mood, row('x', 1)::known_pair) as v"},
	{sql: "select array[row(1, 'a'), row(2, null)] as v"},
	{sql: "select (row('x', 1)::known_pair).*"},
	{sql: "select count(*) as v, sum(maybe), avg(maybe), max(name), array_agg(id order by id), json_agg(name), string_agg(name, ',') from t"},
	{sql: "select id, rank() over (order by maybe desc nulls last) as v, lag(name) over (order by id) from t"},
	{sql: "select id % 3 as v, count(*) from t group by rollup (1) order by 1"},
	{sql: "select a.id, b.name from t a left join lateral (select name from t where id = a.id * 3) b on true order by 1"},
	{sql: "select id as v from t where exists (select from parted p where p.id = t.id) and id not in (select 5) order by 1"},
	{sql: "select id as v from t union select id from parted order by 1 desc offset 2 fetch first 3 rows only"},
	{sql: "select distinct on (id % 4) id as v from t order by id % 4, id"},
	{sql: "select u.x as v from unnest(array['b', 'a', null]) with ordinality as u(x, n) order by n desc"},
	{sql: "select * from jsonb_to_recordset('[{\"a\": 1, \"b\": \"x\"}, {\"a\": 2}]') as j(a int, b text)"},
	{sql: "select coalesce(null, 5) as v, nullif(1, 1), greatest(1, 2), case when true then 'a' end"},
	{sql: "select d::date as v from generate_series('2024-01-01'::timestamp, '2024-01-10', '3 days') d"},
	{sql: "select repeat('ab', n) as v from generate_series(0, 40) n"},
	{sql: "select generate_series(1, 3) as v, generate_series(1, 2)"},
	{sql: "select n as v, n * 2 from generate_series(1, 1000) n"},
	{sql: "select 'a' || $1 || 'b' as v", args: []any{"世"}},
	{sql: "select $1 as v", args: []any{"text by default"}},
	{sql: "select $2::text as v, $1::int", args: []any{1, "swapped"}},
	{sql: "select $1::text as v, $1::text as w", args: []any{"twice"}},
	{sql: "select @a::int as v, @b::text, @a + 1", args: []any{pgx.NamedArgs{"a": 5, "b": "x"}}},
	{sql: "select @a::int as v, @missing::text", args: []any{pgx.NamedArgs{"a": 5, "surplus": 1}}},
	{sql: "select @a::int as v, '@quoted'", args: []any{pgx.StrictNamedArgs{"a": 5}}},
	{sql: "select 1 as v where $1::bool", args: []any{true}},
	{sql: "select 1 as v where $1::bool", args: []any{false}},
	{sql: "select '' as v"},
	{sql: "select ''::text as v, null::text, ''::bytea, null::bytea, '{}'::int[], null::int[]"},
	{sql: "select '[-1:1]={1,2,3}'::int[] as v, '[0:1][5:6]={{a,b},{NULL,d}}'::text[], '{}'::text[], '{{{1}}}'::int8[]"},
	{sql: "select array_fill(7, array[3, 2, 2]) as v"},
	{sql: "select '{{1.5,NaN},{Infinity,0}}'::float8[] as v, '{1.50,NaN}'::numeric[]"},
	{sql: "select timestamptz '2024-01-01 00:00+00' at time zone 'Asia/Tokyo' as v, extract(epoch from timestamptz '2024-01-01 00:00+00')"},
	{sql: "select interval '1 day' * 1.5 as v, age('2024-03-01', '2024-01-31')"},
	{sql: "select ts_rank(to_tsvector('english', 'fat cats'), to_tsquery('english', 'cat')) as v"},
	{sql: "select '{\"a\": {\"b\": [1, 2]}}'::jsonb #> '{a,b}' as v, '{\"a\": 1}'::jsonb ->> 'a', '{\"a\": 1}'::jsonb ? 'a'"},
	{sql: "select x'ff'::int as v, b'101', $$dollar$$, 0.5e3"},
	{sql: "select pg_typeof($1::int) as v", args: []any{1}},
}

// failingReads are reads that ride and whose answer is an error of the server, or none.
var failingReads = []question{
	{sql: "select 10 / $1::int as v", teach: []any{1}, args: []any{0}},
	{sql: "select 10 / (5 - n) as v from generate_series(1, $1::int) n", teach: []any{3}, args: []any{9}},
	{sql: "select n as v, repeat('x', 1000), 10 / (50 - n) from generate_series(1, $1::int) n", teach: []any{3}, args: []any{60}},
	{sql: "select $1::text::int as v", teach: []any{"1"}, args: []any{"x"}},
	{sql: "select $1::text::date as v", teach: []any{"2024-01-01"}, args: []any{"2024-02-30"}},
	{sql: "select $1::text::jsonb as v", teach: []any{"{}"}, args: []any{`{"a": `}},
	{sql: "select $1::text::uuid as v", teach: []any{"c0ffee00-1234-5678-9abc-def012345678"}, args: []any{"?"}},
	{sql: "select $1::text::known_mood as v", teach: []any{"sad"}, args: []any{"angry"}},
	{sql: "select $1::known_mood as v, 1", teach: []any{"sad"}, args: []any{"angry"}},
	{sql: "select $1::int::known_positive as v", teach: []any{1}, args: []any{-1}},
	{sql: "select $1::int + 2147483647 as v", teach: []any{0}, args: []any{1}},
	{sql: "select $1::text::numeric(3,1) as v", teach: []any{"1"}, args: []any{"1000"}},
	{sql: "select $1::int8::int2 as v", teach: []any{1}, args: []any{100000}},
	{sql: "select exp($1::float8) as v", teach: []any{1}, args: []any{1e6}},
	{sql: "select sqrt($1::float8) as v", teach: []any{1}, args: []any{-1}},
	{sql: "select ln($1::numeric) as v", teach: []any{"1"}, args: []any{"0"}},
	{sql: "select substring('abc', 1, $1::int) as v", teach: []any{1}, args: []any{-1}},
	{sql: "select (select id from t where id <= $1) as v", teach: []any{1}, args: []any{5}},
	{sql: "select array_fill(0, array[$1::int]) as v", teach: []any{1}, args: []any{-1}},
	{sql: "select to_date($1, 'YYYY-MM-DD') as v", teach: []any{"2024-01-01"}, args: []any{"2024-99-99"}},
	{sql: "select 'a' like 'a' escape $1 as v", teach: []any{"x"}, args: []any{"xx"}},
	{sql: "select 'a' ~ $1 as v", teach: []any{"a"}, args: []any{"("}},
	{sql: "select chr($1) as v", teach: []any{65}, args: []any{0}},
	{sql: "select id as v from t limit $1", teach: []any{1}, args: []any{-1}},
	{sql: "select generate_series(1, 10, $1::int) as v", teach: []any{1}, args: []any{0}},
	{sql: "select timestamptz '2024-01-01' at time zone $1 as v", teach: []any{"UTC"}, args: []any{"Mars"}},
	{sql: "select $1::text as v, 5", teach: []any{"x"}, args: []any{"a\x00b"}},
	{sql: "select $1::text as v, 6", teach: []any{"x"}, args: []any{"\xff\xfe"}},
	{sql: "select $1::int4range as v", teach: []any{"[1,2)"}, args: []any{"[5,1)"}},
	{sql: "select ($1::int[])[1:2] as v", teach: []any{[]int{1}}, args: []any{"{1,{2}}"}},
	{sql: "select $1::json as v, 7", teach: []any{"{}"}, args: []any{"{"}},
	{sql: "select $1::date as v, 8", teach: []any{"2024-01-01"}, args: []any{pgtype.Date{Time: time.Date(6000000, 1, 1, 0, 0, 0, 0, time.UTC), Valid: true}}},
}

// singleStatements are statements that go alone, by their reason.
var singleStatements = []question{
	{sql: "select 1 / 0", alone: "new"},
	{sql: "select nothing from nowhere", alone: "new"},
	{sql: "select 'x'::int", alone: "new"},
	{sql: "select (", alone: "text"},
	{sql: "select from t", alone: "text"},
	{sql: "select 1 as this_name_is_much_longer_than_the_sixty_three_bytes_that_postgresql_keeps_of_a_name", alone: "text"},
	{sql: `select e'\u4e16' as v`},
	{sql: `select u&'\4e16' as v`, alone: "text"},
	{sql: "select 1; select 2", alone: "text"},
	{sql: "selec 1", alone: "text"},
	{sql: "", alone: "text"},
	{sql: "   ", alone: "text"},
	{sql: "-- nothing", alone: "text"},
	{sql: ";", alone: "text"},
	{sql: "show server_encoding", alone: "text"},
	{sql: "explain (costs off) select 1", alone: "text"},
	{sql: "select 1 as v for update", alone: "text"},
	{sql: "select id as v from t where id < 3 for share", alone: "text"},
	{sql: "insert into empty values (1, 'x') on conflict do nothing", alone: "text"},
	{sql: "with i as (insert into empty values (1, 'x') on conflict do nothing returning *) select count(*) from i", alone: "text"},
	{sql: "update t set name = name where id = $1 returning id", args: []any{1}, alone: "text"},
	{sql: "set work_mem = '5MB'", alone: "text"},
	{sql: "select set_config('work_mem', '5MB', false)", alone: "function"},
	{sql: "select pg_sleep(0)", alone: "function"},
	{sql: "select random() * 0", alone: "function"},
	{sql: "select current_setting('server_encoding')", alone: "function"},
	{sql: "select $1::mood as v", args: []any{"sad"}, alone: "arguments"},
	{sql: "select $1::int as wrong", teach: []any{1}, args: []any{}, alone: "arguments"},
	{sql: "select $1::int as wrong", teach: []any{1}, args: []any{1, 2}, alone: "arguments"},
	{sql: "select $1::int as wrong", teach: []any{1}, args: []any{"x"}},
	{sql: "select $1::int as wrong", teach: []any{1}, args: []any{make(chan int)}, alone: "arguments"},
	{sql: "select $1::int as wrong", teach: []any{1}, args: []any{int64(math.MaxInt64)}, alone: "arguments"},
	{sql: "select $1::int as wrong", teach: []any{1}, args: []any{thing{}}, alone: "arguments"},
	{sql: "select $1::int as wrong", teach: []any{1}, args: []any{failingValuer{}}, alone: "arguments"},
	{sql: "select 1 as wrong", args: []any{1}, teach: []any{}, alone: "arguments"},
	{sql: "select @a::int as wrong", args: []any{pgx.StrictNamedArgs{"b": 1}}, alone: "arguments"},
	{sql: "select $1::int as v", args: []any{pgx.QueryExecModeExec, 1}, alone: "arguments"},
	{sql: "select $1::int as v", args: []any{pgx.QueryExecModeSimpleProtocol, 1}, alone: "arguments"},
	{sql: "select $1::int as v", args: []any{pgx.QueryExecModeDescribeExec, 1}, alone: "arguments"},
	{sql: "select $1::int as v", args: []any{pgx.QueryExecModeCacheDescribe, 1}, alone: "arguments"},
	{sql: "select $1::int as v", args: []any{pgx.QueryResultFormats{pgx.TextFormatCode}, 1}, alone: "arguments"},
	{sql: "select $1::int as v", args: []any{pgx.QueryResultFormatsByOID{pgtype.Int4OID: pgx.TextFormatCode}, pgx.QueryResultFormatsByOID{}, 1}, alone: "arguments"},
	{sql: "select $1::int as v", args: []any{rewriter{}, 1}, alone: "arguments"},
	{sql: "select @a::int as v", args: []any{pgx.QueryExecModeExec, pgx.NamedArgs{"a": 1}}, alone: "arguments"},
	{sql: "select @a::int as v", args: []any{pgx.NamedArgs{"a": 1}, pgx.QueryResultFormats{pgx.TextFormatCode}}, alone: "arguments"},
	{sql: "select @a::int as v", args: []any{pgx.NamedArgs{"a": 1}, pgx.QueryExecModeExec}, alone: "arguments"},
	{sql: "select @a::int as v", args: []any{pgx.NamedArgs{"a": 1}, pgx.NamedArgs{"a": 2}}, alone: "arguments"},
}

type failingValuer struct{}

func (failingValuer) Value() (driver.Value, error) { return nil, errors.New("no value today") }

type rewriter struct{}

func (rewriter) RewriteQuery(_ context.Context, _ *pgx.Conn, sql string, args []any) (string, []any, error) {
	return sql + ", 'rewritten'", args, nil
}

// oracleQuestions are all of them.
func oracleQuestions(t *testing.T, o *oracle) (qs []question) {
	t.Helper()
	ctx := context.Background()
	quote := func(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
	known := func(typ string) bool {
		var oid uint32
		require.NoError(t, o.px.QueryRow(ctx, "select $1::text::regtype::oid", typ).Scan(&oid))
		found := false
		require.NoError(t, o.px.AcquireFunc(ctx, func(c *pgxpool.Conn) error { _, found = c.Conn().TypeMap().TypeForOID(oid); return nil }))
		return found
	}
	all := append(literals, struct {
		of     string
		values []string
	}{"xml", []string{"<a>x</a>", "text"}})
	for _, l := range all {
		if _, err := o.px.Exec(ctx, "select "+quote(l.values[0])+"::"+l.of); err != nil {
			var pg *pgconn.PgError
			require.ErrorAs(t, err, &pg)
			require.Equal(t, "0A000", pg.Code, "%s: %v", l.of, err) // built without XML
			continue
		}
		var rows []string
		for _, v := range l.values {
			rows = append(rows, "("+quote(v)+"::"+l.of+")")
		}
		qs = append(qs, question{sql: "select column1 as v from (values " + strings.Join(rows, ", ") + ", (null)) x"})
		qs = append(qs, question{sql: "select " + quote(l.values[0]) + "::" + l.of + " as v, null::" + l.of})
		qs = append(qs, question{sql: "select array[" + strings.Join(rows, ", ") + ", null]::" + l.of + "[] as v"})
		alone := ""
		if !known(l.of) {
			alone = "arguments"
		}
		for _, v := range slices.Compact([]string{l.values[0], l.values[len(l.values)/2], l.values[len(l.values)-1]}) {
			qs = append(qs, question{sql: "select $1::" + l.of + " as v, 'in text'", args: []any{v}, teach: []any{l.values[0]}, alone: alone})
		}
	}
	for i := range qs {
		if strings.Contains(qs[i].sql, `\`) { // the scanner leaves nothing to a setting
			qs[i].alone = "text"
		}
	}
	for _, p := range parameters {
		for _, v := range append(p.values, nil) {
			q := question{sql: "select $1::" + p.of + " as v", args: []any{v}, teach: p.values[:1]}
			if _, err := o.px.Exec(ctx, q.sql, v); err != nil && !errors.As(err, new(*pgconn.PgError)) || !known(p.of) {
				q.alone = "arguments" // pgx words the error
			}
			qs = append(qs, q)
		}
	}
	qs = append(append(append(qs, wholeReads...), failingReads...), singleStatements...)
	return qs
}

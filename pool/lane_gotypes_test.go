package pool_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/pool"
)

func loading(names ...string) func(context.Context, *pgx.Conn) error {
	return func(ctx context.Context, c *pgx.Conn) error {
		for _, name := range names {
			t, err := c.LoadType(ctx, name)
			if err != nil {
				return nil //nolint:nilerr // it is not there yet
			}
			c.TypeMap().RegisterType(t)
		}
		return nil
	}
}

// A composite type gets an attribute, and all connections are replaced: lanes use what the new
// connections know.
func TestLanesFollowTheirConnectionsGoTypes(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newLaneLab(t, &pool.Config{AfterConnect: loading("pair", "_pair")})
	b.exec("create type pair as (a int, b text); create table t (p pair); insert into t values ('(1,x)')")
	b.renew(ctx) // the first connection came before the type
	const result, inArray, inRecord, argument, arguments = "select p from t", "select array[p, p] from t", "select row(p, 1) from t",
		"select ($1::pair).a", "select ($1::pair[])[2].a"
	type pair struct {
		A int32
		B string
		C *int32
	}
	ask := func(sql string, want any, args ...any) func() {
		return func() {
			r, err := b.p.Query(ctx, sql, args...)
			assert.NoError(t, err)
			got, err := pgx.CollectOneRow(r, pgx.RowTo[any])
			if assert.NoError(t, err, sql) {
				assert.Equal(t, want, got, sql)
			}
		}
	}
	all := func(row map[string]any, arg ...any) {
		for _, f := range []func(){
			ask(result, row), ask(inArray, []any{row, row}), ask(inRecord, []any{row, int32(1)}),
			ask(argument, int32(1), pgtype.CompositeFields(arg)), ask(arguments, int32(1), []pgtype.CompositeFields{arg, arg}),
		} {
			for range 5 {
				before := b.p.Stat().Lanes().Rides
				b.saturate(ctx, []func(){f, f, f})
				_ = before
			}
		}
	}
	all(map[string]any{"a": int32(1), "b": "x"}, int32(1), "x")
	b.exec("alter type pair add attribute c int; update t set p.c = 7")
	b.renew(ctx)
	before := b.p.Stat()
	all(map[string]any{"a": int32(1), "b": "x", "c": int32(7)}, int32(1), "x", int32(7))
	after := b.p.Stat()
	t.Log(after.Lanes().Rides-before.Lanes().Rides, "rode", after.Lanes().Reruns-before.Lanes().Reruns, "ran again", after.Lanes().Alone)
	assert.Greater(t, after.Lanes().Rides, before.Lanes().Rides+40)
	var p pair
	b.saturate(ctx, []func(){
		func() { assert.NoError(t, b.p.QueryRow(ctx, result).Scan(&p)) },
		ask(result, map[string]any{"a": int32(1), "b": "x", "c": int32(7)}),
	})
	require.NotNil(t, p.C)
	assert.EqualValues(t, 7, *p.C)
}

// What the first connection did not know is known on those that came later, also inside a
// record, which has no type of its own.
func TestTheFirstConnectionDoesNotDecideForOthers(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newLaneLab(t, &pool.Config{AfterConnect: loading("mood", "pair")})
	company := func() { assert.NoError(t, b.p.QueryRow(ctx, "select 1 + $1::int", 1).Scan(new(int))) }
	b.saturate(ctx, []func(){company, company})
	b.saturate(ctx, []func(){company, company})
	b.exec("create type mood as enum ('x'); create type pair as (a int, m mood); create table t (v mood, p pair); insert into t values ('x', '(1,x)')")
	b.renew(ctx)
	for sql, want := range map[string]any{
		"select row(v, 1) from t":         []any{"x", int32(1)},
		"select row(row(v), p) from t":    []any{[]any{"x"}, map[string]any{"a": int32(1), "m": "x"}},
		"select array[row(v, 1)] from t":  []any{[]any{"x", int32(1)}},
		"select v, row(p) from t limit 1": "x",
	} {
		f := func() {
			r, err := b.p.Query(ctx, sql)
			assert.NoError(t, err)
			for r.Next() {
				v, err := r.Values()
				assert.NoError(t, err)
				assert.Equal(t, want, v[0], sql)
			}
			assert.NoError(t, r.Err())
		}
		b.saturate(ctx, []func(){f, f, f})
		before := b.p.Stat().Lanes().Rides
		b.saturate(ctx, []func(){f, f, f})
		b.saturate(ctx, []func(){f, f, f})
		assert.Greater(t, b.p.Stat().Lanes().Rides, before, sql)
	}
}

// Types of the user's own, with ways of their own to be read.
type (
	level   string // an enum that nobody has loaded
	loud    string // upper case, by a wrapper of the user's
	scanned struct{ V string }
	native  struct{ V string }
)

func (s *scanned) Scan(v any) error { s.V = fmt.Sprintf("%T %v", v, v); return nil }

func (n *native) ScanText(v pgtype.Text) error { n.V = "text " + v.String; return nil }

type counted struct{ N int64 }

func (c *counted) ScanInt64(v pgtype.Int8) error { c.N = v.Int64; return nil }

// loudly scans into a *loud.
type loudly struct{ to *loud }

func (l *loudly) ScanText(v pgtype.Text) error { *l.to = loud(strings.ToUpper(v.String)); return nil }

type loudPlan struct{ next pgtype.ScanPlan }

func (p *loudPlan) SetNext(next pgtype.ScanPlan) { p.next = next }
func (p *loudPlan) Scan(src []byte, dst any) error {
	return p.next.Scan(src, &loudly{dst.(*loud)})
}

// wholeCodec is a codec of the user's own: a number that is read as a text.
type wholeCodec struct{ pgtype.Int4Codec }

func (c wholeCodec) DecodeValue(m *pgtype.Map, oid uint32, format int16, src []byte) (any, error) {
	v, err := c.Int4Codec.DecodeValue(m, oid, format, src)
	return fmt.Sprint("whole ", v), err
}

// registerAll is what a service may do with a connection's types.
func registerAll(ctx context.Context, c *pgx.Conn) error {
	m := c.TypeMap()
	types, err := c.LoadTypes(ctx, []string{"mood", "_mood", "pair", "_pair", "positive", "moods", "spanned"})
	if err != nil {
		return err
	}
	m.RegisterTypes(types)
	var whole uint32
	if err := c.QueryRow(ctx, "select 'whole'::regtype::oid").Scan(&whole); err != nil {
		return err
	}
	m.RegisterType(&pgtype.Type{Name: "whole", OID: whole, Codec: wholeCodec{}})
	for name, values := range map[string][]any{
		"text":    {level(""), new(level), scanned{}, new(scanned), native{}, new(native)},
		"int8":    {counted{}, new(counted)},
		"mood":    {[2]string{}, new([2]string)},
		"_text":   {[]level{}, new([]level)},
		"jsonb":   {map[string]level{}, new(map[string]level)},
		"unknown": {struct{ X int }{}},
	} {
		for _, v := range values {
			m.RegisterDefaultPgType(v, name)
		}
	}
	m.TryWrapScanPlanFuncs = append([]pgtype.TryWrapScanPlanFunc{func(target any) (pgtype.WrappedScanPlanNextSetter, any, bool) {
		l, ok := target.(*loud)
		return &loudPlan{}, &loudly{l}, ok
	}}, m.TryWrapScanPlanFuncs...)
	return nil
}

const typesSchema = `create type mood as enum ('sad', 'glad'); create type unloaded as enum ('low', 'high');
	create type pair as (a int, m mood); create domain positive as int check (value > 0); create domain moods as mood; create domain whole as int;
	create type spanned as range (subtype = int4); create type hidden as (a int, u unloaded); create domain unloaded_domain as unloaded; create type digits as enum ('7')`

// expressions of every kind of type; each is also asked for inside an array and a record.
var expressions = []string{
	"'sad'::mood", "'low'::unloaded", "'(1,sad)'::pair", "5::positive", "'glad'::moods", "5::whole", "'[1,5)'::spanned", "'(1,low)'::hidden",
	"'low'::unloaded_domain", "1", "'text'::text", "1.5::numeric", `'{"a": "b"}'::json`, `'{"a": "b"}'::jsonb`, "timestamptz '2024-01-01 00:00:00Z'", "row(1, 'low'::unloaded)",
	"'[1,5]'::int8range", "null::mood", "null::unloaded", "'{[1,3)}'::int4multirange",
}

// destinations are pointers to what a row is read into, made anew each time.
var destinations = []func() any{
	func() any { return new(any) },
	func() any { return new(string) },
	func() any { return new(*string) },
	func() any { return new(int64) },
	func() any { return new(level) },
	func() any { return new(*level) },
	func() any { return new(loud) },
	func() any { return new(scanned) },
	func() any { return new(native) },
	func() any { return new(counted) },
	func() any { return new([2]string) },
	func() any { return new([]byte) },
	func() any { return new([]any) },
	func() any { return new([]level) },
	func() any { return new([]*string) },
	func() any { return new([]loud) },
	func() any { return new([]scanned) },
	func() any { return new(map[string]level) },
	func() any { return new(map[string]any) },
	func() any { return new(pgtype.Text) },
	func() any {
		return new(struct {
			A int
			L level
		})
	},
	func() any {
		return new(struct {
			L level
			S scanned
		})
	},
	func() any {
		return new(struct {
			A any
			L *scanned
		})
	},
	func() any {
		return new(struct {
			L loud
			N counted
		})
	},
	func() any { return new(pgtype.Range[pgtype.Int4]) },
}

// asker is a pool, ours or pgx's.
type asker interface {
	Query(context.Context, string, ...any) (pgx.Rows, error)
	QueryRow(context.Context, string, ...any) pgx.Row
}

// waysToRead are ways to read one column of one row.
var waysToRead = []func(ctx context.Context, db asker, sql string, dest any) (any, error){
	func(ctx context.Context, db asker, sql string, dest any) (any, error) {
		err := db.QueryRow(ctx, sql).Scan(dest)
		return dest, err
	},
	func(ctx context.Context, db asker, sql string, dest any) (any, error) {
		r, err := db.Query(ctx, sql)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		for r.Next() {
			if err := r.Scan(dest); err != nil {
				return dest, err
			}
		}
		return dest, r.Err()
	},
	func(ctx context.Context, db asker, sql string, _ any) (any, error) {
		r, err := db.Query(ctx, sql)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		var all []any
		for r.Next() {
			v, err := r.Values()
			if err != nil {
				return nil, err
			}
			all = append(all, v)
		}
		return all, r.Err()
	},
}

// what a read came to, in a form that can be compared.
func what(v any, err error) string {
	if err != nil {
		var scan pgx.ScanArgError
		return fmt.Sprintf("error %v %v", errors.As(err, &scan), err)
	}
	if p := reflect.ValueOf(v); p.Kind() == reflect.Pointer && p.Elem().Kind() == reflect.Pointer && !p.Elem().IsNil() {
		v = p.Elem().Interface()
	}
	if p := reflect.ValueOf(v); p.Kind() == reflect.Pointer {
		v = p.Elem().Interface()
	}
	return deep(reflect.ValueOf(v))
}

// deep is v as a text, through its pointers.
func deep(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Invalid:
		return "nil"
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return v.Type().String() + " nil"
		}
		return "&" + deep(v.Elem())
	case reflect.Slice, reflect.Array:
		if v.Kind() == reflect.Slice && v.IsNil() {
			return v.Type().String() + " nil"
		}
		var b strings.Builder
		b.WriteString(v.Type().String())
		for i := range v.Len() {
			b.WriteString(" " + deep(v.Index(i)))
		}
		return b.String()
	case reflect.Struct:
		if s, ok := reflect.TypeAssert[fmt.Stringer](v); ok {
			return s.String()
		}
		var b strings.Builder
		b.WriteString(v.Type().String())
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				b.WriteString(" " + deep(v.Field(i)))
			}
		}
		return b.String()
	}
	return fmt.Sprintf("%s %#v", v.Type(), v)
}

// Whatever a destination is, and whatever the user has registered, a row is read as pgxpool reads
// it: idle, and on a lane.
func TestRowsAreReadAsPgxpoolReadsThem(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newLaneLab(t, nil)
	b.exec(typesSchema)
	p := newPoolAt(t, b.dsn, &pool.Config{MaxConns: 1, AfterConnect: registerAll})
	p.NeverSlow()
	b.p = p
	cfg, err := pgxpool.ParseConfig(b.dsn)
	require.NoError(t, err)
	cfg.AfterConnect, cfg.MaxConns = registerAll, 1
	px, err := pgxpool.NewWithConfig(ctx, cfg)
	require.NoError(t, err)
	defer px.Close()

	compare(ctx, t, b, px, 40)
	s := p.Stat()
	t.Log(s.Lanes().Rides, "rode", s.Lanes().Reruns, "ran again", s.Lanes().Alone)
	assert.Greater(t, s.Lanes().Rides, int64(300))
}

// compare has both read texts of many types into all destinations. A new connection ends it: the
// machine was too slow for a look, and what was registered on the old one is gone.
func compare(ctx context.Context, t *testing.T, b *laneLab, px *pgxpool.Pool, texts int) {
	t.Helper()
	seed := envSeed(t)
	rng := rand.New(rand.NewPCG(seed, 2))
	require.NoError(t, b.p.Ping(ctx))
	different, dialed := 0, b.p.Stat().NewConnsCount()
	all := rng.Perm(4 * len(expressions))
	if os.Getenv("LMIPOOL_TEST_MATRIX") == "" {
		all = all[:texts]
	}
	for _, n := range all {
		e := expressions[n/4]
		sql := []string{"select " + e + " as v", "select array[" + e + ", " + e + "] as v", "select row(" + e + ", 1) as v", "select row(1, " + e + ") as v"}[n%4]
		{
			f := func() { _, _ = waysToRead[2](ctx, b.p, sql, nil) }
			b.saturate(ctx, []func(){f, f})
			var fs []func()
			for i, d := range destinations {
				read := waysToRead[rng.IntN(2)]
				if i == 0 {
					read = waysToRead[2]
				}
				want := what(read(ctx, px, sql, d()))
				check := func(how string) {
					got := what(read(ctx, b.p, sql, d()))
					for try := 0; got != want && strings.Contains(e, "null") && try < 2000; try++ { // pgx tries all types, in the order of a Go map: one may come first in one of 16
						want = what(read(ctx, px, sql, d()))
					}
					if got != want {
						t.Errorf("%s: %s into %T:\n  pgxpool %s\n  lmipool %s", how, sql, d(), want, got)
						different++
					}
				}
				check("idle")
				fs = append(fs, func() { check("ridden") })
			}
			b.saturate(ctx, fs)
			if n := b.p.Stat().NewConnsCount(); n > dialed {
				t.Skipf("%d connections were dialed", n)
			}
			if different > 20 {
				t.Fatal("and others")
			}
		}
	}
}

// Types that somebody registers later, on the raw connection, are read with from then on.
func TestTypesRegisteredLaterOnTheRawConnection(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newLaneLab(t, nil)
	b.exec(typesSchema)
	f := func() { _, _ = waysToRead[2](ctx, b.p, "select 'sad'::mood", nil) }
	for range 3 {
		b.saturate(ctx, []func(){f, f})
	}
	cfg, err := pgxpool.ParseConfig(b.dsn)
	require.NoError(t, err)
	cfg.AfterConnect, cfg.MaxConns = registerAll, 1
	px, err := pgxpool.NewWithConfig(ctx, cfg)
	require.NoError(t, err)
	defer px.Close()
	l, err := b.p.Acquire(ctx)
	require.NoError(t, err)
	require.NoError(t, registerAll(ctx, l.Conn()))
	var mine level
	require.NoError(t, l.QueryRow(ctx, "select 'low'::unloaded").Scan(&mine))
	var m counted
	require.NoError(t, l.QueryRow(ctx, "select '7'::digits").Scan(&m), "at once")
	l.Release()
	compare(ctx, t, b, px, 20)
	assert.Greater(t, b.p.Stat().Lanes().Rides, int64(300))
}

package pool_test

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

type copier interface {
	CopyFrom(context.Context, pgx.Identifier, []string, pgx.CopyFromSource) (int64, error)
}

// Values whose methods panic, each of them one that pgx calls to encode it.
type (
	panicsInt64   struct{}
	panicsText    struct{}
	panicsBytes   struct{}
	panicsString  struct{ n int }
	panicsJSON    struct{}
	panicsJSONPtr struct{ N int }
	panicsNil     struct{}
	panicsNumeric struct{}
	panicsRange   struct{}
	named         []panicValuer
)

func (panicsInt64) Int64Value() (pgtype.Int8, error)        { panic("value") }
func (panicsText) TextValue() (pgtype.Text, error)          { panic("value") }
func (panicsBytes) BytesValue() ([]byte, error)             { panic("value") }
func (panicsString) String() string                         { panic("value") }
func (panicsJSON) MarshalJSON() ([]byte, error)             { panic("value") }
func (*panicsJSONPtr) MarshalJSON() ([]byte, error)         { panic("value") }
func (*panicsNil) Value() (driver.Value, error)             { panic("value") }
func (panicsNumeric) NumericValue() (pgtype.Numeric, error) { panic("value") }
func (panicsRange) IsNull() bool                            { panic("value") }
func (panicsRange) BoundTypes() (l, u pgtype.BoundType)     { panic("value") }
func (panicsRange) Bounds() (lower, upper any)              { panic("value") }

// panicsCodec is a codec of the user's own.
type panicsCodec struct{ pgtype.TextCodec }

func (panicsCodec) PlanEncode(*pgtype.Map, uint32, int16, any) pgtype.EncodePlan { panic("value") }

// A value that panics while it is encoded is the error of CopyFrom: pgx would encode it in a goroutine of
// its own, and it would end the process.
func TestAValuesPanicIsCopyFromsError(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	dsn := pgtest.Database(t)
	newInspector(t, dsn).exec("create type odd as enum ('a'); create table t (i int8, s text, j json, b jsonb, y bytea, n numeric, r int4range, a int4[], o odd)")
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1, Logger: (&logs{}).logger(), AfterConnect: func(ctx context.Context, c *pgx.Conn) error {
		odd, err := c.LoadType(ctx, "odd")
		if err == nil {
			c.TypeMap().RegisterType(&pgtype.Type{Name: "odd", OID: odd.OID, Codec: panicsCodec{}})
		}
		return err
	}})
	first := pid(t, p)
	ways := map[string]func(src pgx.CopyFromSource, columns ...string) error{
		"the pool": func(src pgx.CopyFromSource, columns ...string) error {
			return second(p.CopyFrom(ctx, pgx.Identifier{"t"}, columns, src))
		},
		"a lease": func(src pgx.CopyFromSource, columns ...string) error {
			return p.AcquireFunc(ctx, func(l *pool.Lease) error { return second(l.CopyFrom(ctx, pgx.Identifier{"t"}, columns, src)) })
		},
		"a transaction": func(src pgx.CopyFromSource, columns ...string) error {
			return pgx.BeginFunc(ctx, p, func(tx pgx.Tx) error { return second(tx.CopyFrom(ctx, pgx.Identifier{"t"}, columns, src)) })
		},
		"settings": func(src pgx.CopyFromSource, columns ...string) error {
			return second(p.With(map[string]string{"app.x": "1"}).CopyFrom(ctx, pgx.Identifier{"t"}, columns, src))
		},
	}
	values := map[string][]any{
		"i": {panicValuer{true}, &panicValuer{true}, panicsInt64{}, &panicsInt64{}, (*panicsNil)(nil)},
		"s": {panicsText{}, panicsString{1}, panicValuer{true}}, "y": {panicsBytes{}}, "n": {panicsNumeric{}}, "r": {panicsRange{}},
		"j": {panicsJSON{}, map[string]any{"a": panicsJSON{}}, &panicsJSONPtr{}, []any{panicsJSON{}}},
		"b": {panicsJSON{}, struct{ A panicsJSON }{}, panicValuer{true}},
		"a": {[]panicValuer{{true}}, named{{true}}, []any{panicsInt64{}}, [1]panicsInt64{}},
		"o": {"a"},
	}
	var many int64
	for way, copies := range ways {
		for column, values := range values {
			for _, v := range values {
				many++
				good := any(nil)
				err := copies(pgx.CopyFromRows([][]any{{good}, {v}, {good}}), column)
				assert.ErrorContains(t, err, "panicked: value", "%s: %T into %s", way, v, column)
			}
		}
		err := copies(pgx.CopyFromFunc(func() ([]any, error) { runtime.Goexit(); return nil, nil }), "i")
		assert.ErrorContains(t, err, "has ended its goroutine", way)
	}
	assert.Equal(t, many, p.Stat().PanicCount())
	assert.Zero(t, p.Stat().AcquiredConns())
	var n int
	require.NoError(t, p.QueryRow(ctx, "select count(*) from t").Scan(&n))
	assert.Zero(t, n, "nothing was copied")
	assert.Equal(t, first, pid(t, p), "the connection is fine")
}

func second[T any](_ T, err error) error { return err }

// stamp encodes itself by its text.
type stamp struct{ n int }

func (s stamp) Value() (driver.Value, error) { return fmt.Sprint(s.n), nil }

type shown int

func (s shown) String() string { return fmt.Sprintf("shown %d", int(s)) }

// pieces are values for a column of each type, some of which do not fit.
var pieces = map[string][]any{
	"int2": {1, int16(2), "3", nil, 1 << 20, "x", stamp{4}, pgtype.Int2{}, 1.5}, "int4": {1, "2", int64(3), nil, new(int), (*int)(nil), stamp{5}, uint8(7)},
	"int8": {int64(1) << 40, "9", nil, pgtype.Int8{Int64: 3, Valid: true}, time.Second}, "float4": {1.5, float32(2), "3.25", 7, nil}, "float8": {1.25, "-1e9", nil, 3},
	"numeric": {"1.50", 2, 3.25, nil, json.Number("12"), pgtype.Numeric{}}, "bool": {true, "t", nil, "maybe", 1}, "text": {"", "a\x01b", nil, shown(3), []byte("bytes"), stamp{6}, 12, "\u00e9"},
	"varchar": {"abc", shown(1), nil}, "bytea": {[]byte{0, 1}, "\\x0102", nil, "no"}, "json": {map[string]any{"a": 1}, `{"b":2}`, nil, []byte("[1]"), json.RawMessage("null"), stamp{1}},
	"jsonb": {[]int{1, 2}, "3", nil, struct{ A int }{4}, json.RawMessage("{}")}, "uuid": {[16]byte{1}, "01020304-0506-0708-090a-0b0c0d0e0f10", nil, "no"},
	"timestamptz": {time.Unix(1e9, 5000), "2024-01-02 03:04:05+02", nil, "infinity", pgtype.Infinity}, "timestamp": {time.Unix(1e9, 0), "2024-01-02", nil}, "date": {time.Unix(1e9, 0), "2024-02-30", "2024-02-03", nil},
	"time": {"01:02:03", pgtype.Time{Microseconds: 5, Valid: true}, nil}, "interval": {time.Minute, "1 day 2 hours", nil}, "inet": {"10.0.0.1/8", nil, "x"}, "point": {pgtype.Point{P: pgtype.Vec2{X: 1, Y: 2}, Valid: true}, "(1,2)", nil},
	"int4[]": {[]int{1, 2}, []int32{}, nil, "{1,NULL,3}", []*int{nil}, []stamp{{1}}, []any{1, "2"}}, "text[]": {[]string{"a", "b,c"}, `{"x y",z}`, nil, []shown{1, 2}},
	"int4range": {pgtype.Range[int32]{Lower: 1, Upper: 5, LowerType: pgtype.Inclusive, UpperType: pgtype.Exclusive, Valid: true}, "[1,3)", nil, "empty"}, "mood": {"sad", "glad", nil, "none", shown(2)},
	"pair": {"(1,sad)", nil, []any{1, "glad"}}, "name": {"n", nil}, "oid": {uint32(7), "8", nil},
}

// Whatever is copied, the table has, and the error says, what it is with pgx's own CopyFrom.
func TestCopyFromWritesWhatPgxsDoes(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	dsn := pgtest.Database(t)
	see := newInspector(t, dsn)
	see.exec("create type mood as enum ('sad', 'glad'); create type pair as (a int, b mood)")
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1, Logger: (&logs{}).logger(), AfterConnect: registers})
	px, err := pgxpool.ParseConfig(dsn)
	require.NoError(t, err)
	px.AfterConnect = registers
	theirs, err := pgxpool.NewWithConfig(ctx, px)
	require.NoError(t, err)
	t.Cleanup(theirs.Close)
	var types []string
	for typ := range pieces {
		types = append(types, typ)
	}
	failed := 0
	rounds := 60
	for round := range rounds {
		ours, pgxs := fmt.Sprintf("ours %d", round), fmt.Sprintf("pgx's %d", round)
		var columns, defs []string
		var of []string
		for i := range 1 + rand.IntN(4) {
			of = append(of, types[rand.IntN(len(types))])
			columns = append(columns, fmt.Sprintf(`Col "%d"`, i))
			defs = append(defs, pgx.Identifier{columns[i]}.Sanitize()+" "+of[i])
		}
		for _, name := range []string{ours, pgxs} {
			see.exec("create table " + pgx.Identifier{"public", name}.Sanitize() + " (" + strings.Join(defs, ", ") + ")")
		}
		rows := make([][]any, rand.IntN(5))
		for i := range rows {
			for _, typ := range of {
				v := pieces[typ][rand.IntN(len(pieces[typ]))]
				if s, ok := v.(string); ok && rand.IntN(50) == 0 {
					v = strings.Repeat(s, 40000) // more than one message
				}
				rows[i] = append(rows[i], v)
			}
			if rand.IntN(30) == 0 {
				rows[i] = rows[i][1:]
			}
		}
		n1, err1 := p.CopyFrom(ctx, pgx.Identifier{"public", ours}, columns, pgx.CopyFromRows(rows))
		n2, err2 := theirs.CopyFrom(ctx, pgx.Identifier{"public", pgxs}, columns, pgx.CopyFromRows(rows))
		assert.Equal(t, n2, n1, "%v %v", of, rows)
		require.Equal(t, err2 == nil, err1 == nil, "%v %v: %v, pgx: %v", of, rows, err1, err2)
		if err1 != nil {
			failed++
		}
		content := func(name string) int {
			return see.count("select coalesce(sum(hashtext(t::text)::bigint), 0) + 7 * count(*) from " + pgx.Identifier{name}.Sanitize() + " t")
		}
		assert.Equal(t, content(pgxs), content(ours), "%v %v", of, rows)
	}
	t.Logf("%d tables beside pgx, %d of them with an error", rounds, failed)
	assert.Positive(t, failed)

	// what is said is said as pgx does
	for _, table := range []string{"nosuch", "ours 0"} {
		_, err1 := p.CopyFrom(ctx, pgx.Identifier{table}, []string{"a"}, pgx.CopyFromRows(nil))
		_, err2 := theirs.CopyFrom(ctx, pgx.Identifier{table}, []string{"a"}, pgx.CopyFromRows(nil))
		require.EqualError(t, err1, err2.Error())
	}
	see.exec("create table e (n int4 unique)")
	for _, src := range []func() pgx.CopyFromSource{
		func() pgx.CopyFromSource { return pgx.CopyFromRows([][]any{{1, 2}}) },
		func() pgx.CopyFromSource { return pgx.CopyFromRows([][]any{{1}, {1}}) },
		func() pgx.CopyFromSource {
			return pgx.CopyFromSlice(2, func(int) ([]any, error) { return nil, errors.New("the source's own") })
		},
		func() pgx.CopyFromSource {
			return pgx.CopyFromFunc(func() ([]any, error) { return nil, errors.New("the source's own") })
		},
		func() pgx.CopyFromSource {
			i := 0
			return pgx.CopyFromFunc(func() ([]any, error) { // goes on for ever, and the server refuses the second
				i++
				return []any{i % 2}, nil
			})
		},
	} {
		_, err1 := p.CopyFrom(ctx, pgx.Identifier{"e"}, []string{"n"}, src())
		_, err2 := theirs.CopyFrom(ctx, pgx.Identifier{"e"}, []string{"n"}, src())
		require.EqualError(t, err1, err2.Error())
	}
	tx, err := p.Begin(ctx)
	require.NoError(t, err)
	sp, err := tx.Begin(ctx)
	require.NoError(t, err)
	require.NoError(t, sp.Commit(ctx))
	_, err = sp.CopyFrom(ctx, pgx.Identifier{"e"}, []string{"n"}, pgx.CopyFromRows([][]any{{1}}))
	require.ErrorIs(t, err, pgx.ErrTxClosed)
	require.NoError(t, tx.Rollback(ctx))
}

// The columns are what they are now, not what they were when the connection saw them first.
func TestCopyFromAsksWhatTheColumnsAre(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	dsn := pgtest.Database(t)
	see := newInspector(t, dsn)
	see.exec("create table t (n int4, at timestamptz); create schema other; create table other.t (n float4, at date)")
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1, Logger: (&logs{}).logger()})
	theirs, err := pgxpool.New(ctx, dsn)
	require.NoError(t, err)
	t.Cleanup(theirs.Close)
	at := time.Date(2024, 5, 6, 12, 0, 0, 0, time.UTC)
	copies := func(d copier) error {
		return second(d.CopyFrom(ctx, pgx.Identifier{"t"}, []string{"n", "at"}, pgx.CopyFromRows([][]any{{7, at}})))
	}
	wrong := func(table string) int {
		return see.count("select count(*) from " + table + " where n <> 7 or at::date <> '2024-05-06'")
	}
	require.NoError(t, copies(p))
	require.NoError(t, copies(p.With(map[string]string{"search_path": "other"})))
	require.NoError(t, copies(p))
	assert.Equal(t, 2, see.count("select count(*) from t"))
	assert.Equal(t, 1, see.count("select count(*) from other.t"))
	assert.Zero(t, wrong("t")+wrong("other.t"))

	require.NoError(t, copies(theirs))
	see.exec("truncate t; alter table t alter n type float4")
	require.NoError(t, copies(p))
	assert.Zero(t, wrong("t"))
	require.NoError(t, copies(theirs))
	t.Logf("after a change of type pgxpool has %d row wrong", wrong("t"))
}

func BenchmarkCopyFrom(b *testing.B) {
	ctx := context.Background()
	dsn := pgtest.Database(b)
	p := newPoolAt(b, dsn, &pool.Config{MaxConns: 1})
	theirs, err := pgxpool.New(ctx, dsn)
	require.NoError(b, err)
	b.Cleanup(theirs.Close)
	_, err = p.Exec(ctx, "create unlogged table t (id int8, name text, at timestamptz)")
	require.NoError(b, err)
	for _, n := range []int{1, 100, 10000} {
		rows := make([][]any, n)
		for i := range rows {
			rows[i] = []any{int64(i), "some name", time.Now()}
		}
		for name, d := range map[string]copier{"lmipool": p, "pgxpool": theirs} {
			b.Run(fmt.Sprintf("%d/%s", n, name), func(b *testing.B) {
				for b.Loop() {
					if _, err := d.CopyFrom(ctx, pgx.Identifier{"t"}, []string{"id", "name", "at"}, pgx.CopyFromRows(rows)); err != nil {
						b.Fatal(err)
					}
				}
			})
			_, err = p.Exec(ctx, "truncate t")
			require.NoError(b, err)
		}
	}
}

package pool_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/pool"
)

// Whoever rides gets what pgx would have given him. pgx itself is the oracle: the
// same question goes through plain pgxpool and through a saturated lane, in company
// of the others, and the answers are compared down to their raw bytes.

// question is one statement that both are asked.
type question struct {
	sql   string
	args  []any
	teach []any  // what it is asked first, if args make it fail: who fails is not looked at
	alone string // the reason why it goes alone; "": it rides
}

func (q question) String() string { return fmt.Sprintf("%.200s %.200v", q.sql, q.args) }

type asked interface {
	Exec(context.Context, string, ...any) (pgconn.CommandTag, error)
	Query(context.Context, string, ...any) (pgx.Rows, error)
	QueryRow(context.Context, string, ...any) pgx.Row
}

// answer is all that one way to ask a question brought to light.
type answer []any

func (a *answer) note(vs ...any) {
	for _, v := range vs {
		if err, ok := v.(error); ok {
			v = told(err)
		}
		*a = append(*a, v)
	}
}

// failure is an error in a form that can be compared.
type failure struct {
	Text            string
	Server          pgconn.PgError
	NoRows, TooMany bool
	Column          int
	Safe            bool
}

func told(err error) any {
	err = pool.WithoutArgument(err) // pgx shows one that it cannot encode, and we do not
	text := typeOfValue.ReplaceAllString(err.Error(), "the value into ")
	f := failure{Text: text, NoRows: errors.Is(err, pgx.ErrNoRows), TooMany: errors.Is(err, pgx.ErrTooManyRows), Column: -1, Safe: pgconn.SafeToRetry(err)}
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) {
		f.Server = *pg
	}
	if scan := (pgx.ScanArgError{}); errors.As(err, &scan) {
		f.Column = scan.ColumnIndex
	}
	return f
}

// typeOfValue is what we say of an argument that cannot be encoded, in place of its value.
var typeOfValue = regexp.MustCompile(`a value of type .*? into `)

// differences are the parts in which a and b differ, as a text; "" if there are none.
func differences(a, b any) string {
	if reflect.DeepEqual(a, b) {
		return ""
	}
	va, vb := reflect.ValueOf(a), reflect.ValueOf(b)
	if va.IsValid() && vb.IsValid() && va.Type() == vb.Type() {
		switch va.Kind() {
		case reflect.Float32, reflect.Float64:
			if va.Float() != va.Float() && vb.Float() != vb.Float() {
				return "" // NaN is NaN here
			}
		case reflect.Slice:
			if va.Len() == vb.Len() && va.IsNil() == vb.IsNil() {
				var parts []string
				for i := range va.Len() {
					if d := differences(va.Index(i).Interface(), vb.Index(i).Interface()); d != "" {
						parts = append(parts, fmt.Sprintf("[%d]%s", i, d))
					}
				}
				return strings.Join(parts, "\n  ")
			}
		case reflect.Map:
			if va.Len() == vb.Len() {
				var parts []string
				for _, k := range va.MapKeys() {
					if e := vb.MapIndex(k); !e.IsValid() {
						parts = append(parts, fmt.Sprintf("[%v] is missing", k))
					} else if d := differences(va.MapIndex(k).Interface(), e.Interface()); d != "" {
						parts = append(parts, fmt.Sprintf("[%v]%s", k, d))
					}
				}
				return strings.Join(parts, "\n  ")
			}
		case reflect.Pointer:
			if !va.IsNil() && !vb.IsNil() {
				return differences(va.Elem().Interface(), vb.Elem().Interface())
			}
		case reflect.Struct:
			if x, y := fmt.Sprintf("%+v", a), fmt.Sprintf("%+v", b); x == y && strings.Contains(x, "NaN") {
				return ""
			}
		}
	}
	return fmt.Sprintf(": pgx %#v, lane %#v", a, b)
}

func clones(raw [][]byte) [][]byte {
	c := slices.Clone(raw)
	for i, v := range c {
		c[i] = slices.Clone(v)
	}
	return c
}

// walk reads all rows of q, and all that they show.
func walk(ctx context.Context, d asked, q question) (a answer) {
	r, err := d.Query(ctx, q.sql, q.args...)
	a.note(err)
	for r.Next() {
		v, err := r.Values()
		a.note(v, err, clones(r.RawValues()), r.Err(), r.CommandTag())
	}
	fields := slices.Clone(r.FieldDescriptions())
	if r.Err() == nil { // pgx has none after an error in Bind
		a.note(fields)
	}
	a.note(r.Err(), r.CommandTag(), r.RawValues(), r.Next())
	_, err = r.Values()
	a.note(err != nil) // "rows is closed", or why
	r.Close()
	a.note(r.Err(), r.CommandTag(), r.Next())
	return a
}

// walkIn is walk, and asks for the rows in formats.
func walkIn(formats pgx.QueryResultFormatsByOID) func(context.Context, asked, question) answer {
	return func(ctx context.Context, d asked, q question) answer {
		q.args = append([]any{formats}, q.args...)
		return walk(ctx, d, q)
	}
}

// ways are the ways to ask.
var ways = map[string]func(ctx context.Context, d asked, q question) answer{
	"walk":          walk,
	"walk in text":  walkIn(pgx.QueryResultFormatsByOID{}),
	"walk in mixed": walkIn(pgx.QueryResultFormatsByOID{pgtype.Int4OID: pgx.BinaryFormatCode, pgtype.TimestamptzOID: pgx.BinaryFormatCode, pgtype.ByteaOID: pgx.BinaryFormatCode}),
	"early close": func(ctx context.Context, d asked, q question) (a answer) {
		r, err := d.Query(ctx, q.sql, q.args...)
		a.note(err)
		if r.Next() {
			v, err := r.Values()
			a.note(v, err, slices.Clone(r.FieldDescriptions()), r.Err()) // pgx uses the slice again
		}
		r.Close()
		r.Close()
		a.note(r.Err(), r.CommandTag(), r.Next(), r.RawValues())
		return a
	},
	"scan any":     scanning(func() any { return new(any) }),
	"scan *string": scanning(func() any { return new(*string) }),
	"scan string":  scanning(func() any { return new(string) }),
	"scan bytes":   scanning(func() any { return new([]byte) }),
	"scan driver":  scanning(func() any { return new(pgtype.DriverBytes) }),
	"scan nothing": scanning(func() any { return nil }),
	"exec": func(ctx context.Context, d asked, q question) (a answer) {
		tag, err := d.Exec(ctx, q.sql, q.args...)
		a.note(tag, err)
		return a
	},
	"row any": func(ctx context.Context, d asked, q question) (a answer) {
		var v any
		a.note(d.QueryRow(ctx, q.sql, q.args...).Scan(&v), v)
		return a
	},
	"row driver": func(ctx context.Context, d asked, q question) (a answer) {
		var v pgtype.DriverBytes
		a.note(d.QueryRow(ctx, q.sql, q.args...).Scan(&v), v)
		return a
	},
	"row everything": func(ctx context.Context, d asked, q question) (a answer) {
		var e everything
		a.note(d.QueryRow(ctx, q.sql, q.args...).Scan(&e), answer(e))
		return a
	},
	"everything": func(ctx context.Context, d asked, q question) (a answer) {
		r, err := d.Query(ctx, q.sql, q.args...)
		a.note(err)
		vs, err := pgx.CollectRows(r, pgx.RowTo[everything])
		a.note(vs, err)
		return a
	},
	"maps": func(ctx context.Context, d asked, q question) (a answer) {
		r, err := d.Query(ctx, q.sql, q.args...)
		a.note(err)
		vs, err := pgx.CollectRows(r, pgx.RowToMap)
		a.note(vs, err)
		return a
	},
	"one": func(ctx context.Context, d asked, q question) (a answer) {
		r, _ := d.Query(ctx, q.sql, q.args...)
		v, err := pgx.CollectOneRow(r, pgx.RowToMap)
		a.note(v, err)
		return a
	},
	"exactly one": func(ctx context.Context, d asked, q question) (a answer) {
		r, _ := d.Query(ctx, q.sql, q.args...)
		v, err := pgx.CollectExactlyOneRow(r, pgx.RowTo[any])
		a.note(v, err)
		return a
	},
	"structs by name": func(ctx context.Context, d asked, q question) (a answer) {
		type named struct{ V any }
		r, _ := d.Query(ctx, q.sql, q.args...)
		v, err := pgx.CollectRows(r, pgx.RowToStructByNameLax[named])
		a.note(v, err)
		return a
	},
	"structs by position": func(ctx context.Context, d asked, q question) (a answer) {
		type pair struct{ A, B any }
		r, _ := d.Query(ctx, q.sql, q.args...)
		v, err := pgx.CollectRows(r, pgx.RowToAddrOfStructByPos[pair])
		a.note(v, err)
		return a
	},
	"for each": func(ctx context.Context, d asked, q question) (a answer) {
		r, _ := d.Query(ctx, q.sql, q.args...)
		var v any
		n := 0
		tag, err := pgx.ForEachRow(r, []any{&v}, func() error {
			a.note(v)
			if n++; n == 2 {
				return errors.New("enough")
			}
			return nil
		})
		a.note(tag, err, r.Err(), r.CommandTag())
		return a
	},
}

func scanning(into func() any) func(ctx context.Context, d asked, q question) answer {
	return func(ctx context.Context, d asked, q question) (a answer) {
		r, err := d.Query(ctx, q.sql, q.args...)
		a.note(err)
		for r.Next() {
			dest := make([]any, len(r.FieldDescriptions()))
			for i := range dest {
				dest[i] = into()
				if k := reflect.TypeOf(dest[i]); k != nil && k.Elem().Kind() != reflect.Pointer && k.Elem().Kind() != reflect.Interface && r.RawValues()[i] == nil {
					dest[i] = new(any) // see everything
				}
			}
			err := r.Scan(dest...)
			for i := range dest {
				if b, ok := dest[i].(*pgtype.DriverBytes); ok {
					dest[i] = slices.Clone(*b) // it is valid only until Next
				}
			}
			a.note(err, dest, r.Err())
		}
		a.note(r.Err(), r.CommandTag(), r.Scan(new(any)) != nil) // pgx words that by accident
		return a
	}
}

// everything is a row read into every kind of destination, whether it fits or not,
// with the Map that the rows bring along.
type everything answer

func (e *everything) ScanRow(rows pgx.Rows) error {
	for i, f := range rows.FieldDescriptions() {
		for _, d := range []any{
			new(string), new(*string), new(int64), new(*int16), new(uint32), new(float64), new(bool), new(*bool), new(time.Time), new(*time.Time),
			new([]byte), new([]string), new([]*string), new([]int64), new([]any), new(map[string]any), new(any), new([16]byte), new(time.Duration),
			new(sql.NullString), new(sql.NullInt64), new(netip.Prefix), new(netip.Addr), new(big.Int),
			new(pgtype.Text), new(pgtype.Numeric), new(pgtype.Timestamptz), new(pgtype.Timestamp), new(pgtype.Date), new(pgtype.Interval), new(pgtype.UUID), new(pgtype.Point),
			new(pgtype.Range[pgtype.Int4]), new(pgtype.Range[any]), new(pgtype.Multirange[pgtype.Range[pgtype.Int8]]), new(pgtype.Array[pgtype.Text]), new(pgtype.FlatArray[any]),
			new(pgtype.Bits), new(pgtype.TID), new(pgtype.Hstore), new(thing), new(shout), new(struct{ A int }),
		} {
			if k := reflect.TypeOf(d).Elem().Kind(); rows.RawValues()[i] == nil && k != reflect.Pointer && k != reflect.Interface {
				continue // pgx reads a NULL that does not fit as any type that would: its answer is random
			}
			err := func() (err error) {
				defer func() {
					if r := recover(); r != nil {
						err = fmt.Errorf("panic: %v", r)
					}
				}()
				return rows.TypeMap().Scan(f.DataTypeOID, f.Format, rows.RawValues()[i], d)
			}()
			if err == nil { // a failed Scan may leave anything
				(*answer)(e).note(d)
			} else {
				(*answer)(e).note(err)
			}
		}
	}
	return nil
}

// thing is a composite of two, or an object of JSON.
type thing struct {
	Name  string `json:"name"`
	Count *int   `json:"count"`
}

func (t *thing) ScanNull() error { *t = thing{}; return nil }
func (t *thing) ScanIndex(i int) any {
	switch i {
	case 0:
		return &t.Name
	case 1:
		return &t.Count
	}
	panic("no such field")
}

// shout is a sql.Scanner and a driver.Valuer.
type shout string

func (s *shout) Scan(src any) error { *s = shout(fmt.Sprintf("%T %v!", src, src)); return nil }

func TestAnEmptyValueIsNotNull(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newLaneLab(t, nil)
	b.rideInCompany(ctx, "select '' as v, null::text as n, ''::bytea as b", nil, []string{"v", "n", "b"}, []any{"", nil, []byte{}})
}

// Who is looked at first does not decide by his arguments who rides.
func TestANewlineInAnArgumentIsNoReason(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newLaneLab(t, nil)
	b.exec("create table t as select 1 as id, 'one' as body")
	sql := "select id from t where body = $1"
	b.teach(ctx, sql, "two\nlines (of text")
	b.rideInCompany(ctx, sql, []any{"one"}, []string{"id"}, []any{int32(1)})
	sql = "select id from t where body = any($1)"
	b.teach(ctx, sql, []string{"two\nlines (of text"})
	b.rideInCompany(ctx, sql, []any{[]string{"one"}}, []string{"id"}, []any{int32(1)})
}

func TestOptionsBehindNamedArgsCount(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newLaneLab(t, nil)
	const sql = "select @a::int as v"
	b.teach(ctx, sql, pgx.NamedArgs{"a": 0})
	var fs []func()
	for range 3 {
		fs = append(fs, func() {
			r, err := b.p.Query(ctx, sql, pgx.NamedArgs{"a": 1}, pgx.QueryResultFormats{pgx.TextFormatCode})
			assert.NoError(t, err)
			for r.Next() {
				assert.Equal(t, "1", string(r.RawValues()[0]))
			}
			assert.NoError(t, r.Err())
		}, func() {
			var n int
			assert.NoError(t, b.p.QueryRow(ctx, sql, pgx.NamedArgs{"a": 1}, pgx.NamedArgs{"a": 2}).Scan(&n))
			assert.Equal(t, 2, n)
		})
	}
	b.saturate(ctx, fs)
}

// oracle is a laneLab with pgxpool beside it.
type oracle struct {
	*laneLab
	px *pgxpool.Pool
}

// newOracle opens both with the same hook and settings, after schema.
func newOracle(t *testing.T, c *pool.Config, schema string) *oracle {
	t.Helper()
	ctx := context.Background()
	if c == nil {
		c = &pool.Config{}
	}
	o := &oracle{laneLab: newLaneLab(t, c)}
	if schema != "" {
		o.exec(schema)
	}
	px, err := pgxpool.ParseConfig(o.dsn)
	require.NoError(t, err)
	px.MaxConns = 1
	px.AfterConnect = c.AfterConnect
	o.px, err = pgxpool.NewWithConfig(ctx, px)
	require.NoError(t, err)
	t.Cleanup(o.px.Close)
	return o
}

// saturate has all of fs queue behind a held connection, and lets them go.
func (b *laneLab) saturate(ctx context.Context, fs []func()) {
	b.t.Helper()
	release := b.hold(ctx)
	var wg sync.WaitGroup
	for _, f := range fs {
		wg.Go(f)
	}
	for deadline := time.Now().Add(30 * time.Second); int(b.p.Stat().Queued()) < len(fs); time.Sleep(50 * time.Microsecond) {
		if time.Now().After(deadline) {
			b.t.Errorf("%d of %d queue", b.p.Stat().Queued(), len(fs))
			break
		}
	}
	release()
	wg.Wait()
}

// teachAll has the pool know every question that is going to ride.
func (o *oracle) teachAll(ctx context.Context, qs []question) {
	o.t.Helper()
	var fs []func()
	seen := map[string]bool{}
	for _, q := range append(qs, question{sql: "select 'company'"}) {
		if seen[q.sql] {
			continue
		}
		seen[q.sql] = true
		args := q.args
		if q.teach != nil {
			args = q.teach
		}
		fs = append(fs, func() {
			r, err := o.p.Query(ctx, q.sql, args...)
			if err == nil {
				r.Close()
				err = r.Err()
			}
			if q.alone == "" && err != nil {
				o.t.Errorf("%v: %v", q, err)
			}
		})
	}
	for some := range slices.Chunk(fs, 60) {
		o.saturate(ctx, some)
	}
}

// asking is a question and the way to ask it.
type asking struct {
	question
	way string
	ask func(context.Context, asked, question) answer
}

func (a asking) of(ctx context.Context, d asked) answer { return a.ask(ctx, d, a.question) }

// agree has both asked, and compares. Who rides does so in company, 30 at a time.
func (o *oracle) agree(ctx context.Context, as []asking) {
	o.t.Helper()
	for some := range slices.Chunk(as, 30) {
		want := make([]answer, len(some))
		for i, a := range some {
			want[i] = a.of(ctx, o.px)
		}
		if o.agreeOn(ctx, some, want); o.t.Failed() {
			return
		}
	}
}

// agreeOn has as ride together. A busy machine makes a statement slow for once, or
// ends a flight early: then they do it again, but an answer is never wrong.
func (o *oracle) agreeOn(ctx context.Context, as []asking, want []answer) {
	o.t.Helper()
	expect := map[string]int64{}
	for _, a := range as {
		expect[a.alone]++
	}
	riders := expect[""] + 2
	delete(expect, "")
	unread := o.unread(ctx, as)
	for try := 0; ; try++ {
		before := o.p.Stat()
		got := make([]answer, len(as))
		var fs []func()
		for i, a := range as {
			fs = append(fs, func() { got[i] = a.of(ctx, o.p) })
		}
		o.saturate(ctx, append(fs, o.company(ctx), o.company(ctx))) // so that nobody is the only one
		for i, a := range as {
			if d := differences(want[i], got[i]); d != "" {
				o.t.Errorf("%s: %v\n  %s", a.way, a.question, d)
			}
		}
		rode, alone := since(before, o.p.Stat())
		again := o.p.Stat().Lanes().Reruns - before.Lanes().Reruns
		if rode == riders && maps.Equal(alone, expect) && again <= unread {
			return
		}
		if late := alone["slow"] > 0 || alone["no company"] > 0 || o.p.Stat().Lanes().GuardRefusals > before.Lanes().GuardRefusals; !late || try == 30 {
			o.t.Errorf("%d rode and %v went alone; wanted %d and %v; %d ran again\n%v", rode, alone, riders, expect, again, strings.Join(o.strays(ctx, as), "\n"))
			return
		}
	}
}

// unreadable are the errors of values that the server cannot read: text representation, repertoire, data.
var unreadable = []string{"22P02", "22021", "22000"}

// unread is how many of as the server fails since it cannot read a value. That may be the error of a stale statement, so each of them may run again.
// pgx is asked anew: some ways to ask lose the server's error.
func (o *oracle) unread(ctx context.Context, as []asking) (n int64) {
	for _, a := range as {
		_, err := o.px.Exec(ctx, a.sql, a.args...)
		if pg := (*pgconn.PgError)(nil); a.alone == "" && errors.As(err, &pg) && slices.Contains(unreadable, pg.Code) {
			n++
		}
	}
	return n
}

// company is somebody else who rides.
func (o *oracle) company(ctx context.Context) func() {
	return func() {
		var s string
		assert.NoError(o.t, o.p.QueryRow(ctx, "select 'company'").Scan(&s))
		assert.Equal(o.t, "company", s)
	}
}

// since is how many rode, and how many went alone and why.
func since(before, after *pool.Stat) (rode int64, alone map[string]int64) {
	alone = after.Lanes().Alone
	for why, n := range before.Lanes().Alone {
		if alone[why] -= n; alone[why] == 0 {
			delete(alone, why)
		}
	}
	return after.Lanes().Rides - before.Lanes().Rides, alone
}

// strays names those of as that do not go where they should, each with the reason.
func (o *oracle) strays(ctx context.Context, as []asking) (wrong []string) {
	for _, a := range as {
		before := o.p.Stat()
		f := func() { a.of(ctx, o.p) }
		o.saturate(ctx, []func(){f, f})
		rode, alone := since(before, o.p.Stat())
		if a.alone == "" && rode != 2 || a.alone != "" && alone[a.alone] != 2 {
			wrong = append(wrong, fmt.Sprintf("%s: %v: rode %d, alone %v, wanted %q", a.way, a.question, rode, alone, a.alone))
		}
	}
	return wrong
}

func TestWhoeverRidesGetsPgxsAnswer(t *testing.T) {
	t.Parallel()
	o := newOracle(t, &pool.Config{AfterConnect: loadOracleTypes}, oracleSchema)
	qs := oracleQuestions(t, o)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	o.teachAll(ctx, qs)

	// Each question goes the way that shows most and another, in turn; each goes all
	// ways when there is time.
	all := slices.Sorted(maps.Keys(ways))
	var as []asking
	for i, q := range qs {
		these := []string{"walk", all[i%len(all)]}
		if os.Getenv("LMIPOOL_TEST_MATRIX") != "" {
			these = all
		}
		for _, way := range these {
			as = append(as, asking{q, way, ways[way]})
		}
	}
	o.agree(ctx, as)
	s := o.p.Stat()
	t.Logf("%d questions, asked %d times; %d rides on %d flights, %d ran again, alone %v", len(qs), len(as), s.Lanes().Rides, s.Lanes().Flights, s.Lanes().Reruns, s.Lanes().Alone)
	eventually(t, "all is given back", func() bool { return o.p.Stat().AcquiredConns() == 0 })
	assert.EqualValues(t, 1, s.NewConnsCount(), "the connection was good all along")
}

// Typed rows, collected by pgx's own helpers from several riders of one flight.
func TestRidersCollectTypedRows(t *testing.T) {
	t.Parallel()
	type item struct {
		ID    int32
		Name  string
		Maybe *int64 `db:"maybe"`
		Mood  color
		Pair  thing
		Tags  []string
		At    time.Time
		Doc   thing
		Net   netip.Prefix
		Sum   pgtype.Numeric
		Span  pgtype.Range[pgtype.Int4]
		Blob  []byte
	}
	const sql = `select id, name, maybe, (case when id % 2 = 0 then 'sad' else 'ok' end)::known_mood as mood, row(name, id)::known_pair as pair,
		array[name, 'x'] as tags, timestamptz '2024-01-01 00:00+00' + make_interval(days => id) as at,
		jsonb_build_object('name', name, 'count', id) as doc, ('10.0.0.' || id)::inet as net, id + 0.5 as sum,
		int4range(0, id) as span, convert_to(name, 'UTF8') as blob
		from t where id between $1 and $2 order by id`
	// pgx's default is a location of the machine's; a codec of the user's has its own.
	utc := func(ctx context.Context, c *pgx.Conn) error {
		c.TypeMap().RegisterType(&pgtype.Type{Name: "timestamptz", OID: pgtype.TimestamptzOID, Codec: &pgtype.TimestamptzCodec{ScanLocation: time.FixedZone("here", 3600)}})
		return loadOracleTypes(ctx, c)
	}
	o := newOracle(t, &pool.Config{AfterConnect: utc}, oracleSchema)
	ctx := bounded(t)
	o.teachAll(ctx, []question{{sql: sql, args: []any{1, 3}}})
	collect := map[string]func(d asked, from, to int) (any, error){
		"by name": func(d asked, from, to int) (any, error) {
			r, _ := d.Query(ctx, sql, from, to)
			return pgx.CollectRows(r, pgx.RowToStructByName[item])
		},
		"by position": func(d asked, from, to int) (any, error) {
			r, _ := d.Query(ctx, sql, from, to)
			return pgx.CollectRows(r, pgx.RowToAddrOfStructByPos[item])
		},
		"one": func(d asked, from, to int) (any, error) {
			r, _ := d.Query(ctx, sql, from, to)
			return pgx.CollectOneRow(r, pgx.RowToStructByName[item])
		},
		"exactly one": func(d asked, from, to int) (any, error) {
			r, _ := d.Query(ctx, sql, from, to)
			return pgx.CollectExactlyOneRow(r, pgx.RowToStructByName[item])
		},
		"too few fields": func(d asked, from, to int) (any, error) {
			r, _ := d.Query(ctx, sql, from, to)
			return pgx.CollectRows(r, pgx.RowToStructByName[thing])
		},
		"row": func(d asked, from, to int) (any, error) {
			var i item
			err := d.QueryRow(ctx, sql, from, to).Scan(&i.ID, &i.Name, &i.Maybe, &i.Mood, &i.Pair, &i.Tags, &i.At, &i.Doc, &i.Net, &i.Sum, &i.Span, &i.Blob)
			return i, err
		},
		"wrong destination": func(d asked, from, to int) (any, error) {
			var i item
			err := d.QueryRow(ctx, sql, from, to).Scan(&i.ID, &i.ID, &i.Maybe, &i.Mood, &i.Pair, &i.Tags, &i.At, &i.Doc, &i.Net, &i.Sum, &i.Span, &i.Blob)
			return nil, err
		},
		"for each": func(d asked, from, to int) (any, error) {
			var i item
			var all []item
			r, _ := d.Query(ctx, sql, from, to)
			tag, err := pgx.ForEachRow(r, []any{&i.ID, &i.Name, &i.Maybe, &i.Mood, &i.Pair, &i.Tags, &i.At, &i.Doc, &i.Net, &i.Sum, &i.Span, &i.Blob}, func() error {
				all = append(all, i)
				i = item{}
				return nil
			})
			return []any{all, tag}, err
		},
	}
	var as []asking
	for name, f := range collect {
		ways := func(_ context.Context, d asked, q question) (a answer) {
			v, err := f(d, q.args[0].(int), q.args[1].(int))
			a.note(v, err)
			return a
		}
		for from := 1; from < 20; from += 4 {
			as = append(as, asking{question{sql: sql, args: []any{from, from + from%3}}, name, ways})
		}
		as = append(as, asking{question{sql: sql, args: []any{100, 200}}, name, ways})
	}
	o.agree(ctx, as)
	assert.EqualValues(t, "here", func() string {
		r, _ := o.p.Query(ctx, sql, 1, 1)
		i, err := pgx.CollectOneRow(r, pgx.RowToStructByName[item])
		assert.NoError(t, err)
		return i.At.Location().String()
	}())
}

// An enum's codec has a state, and what is inside another type is decoded with the
// codec that the Map has for it, not with the column's. (For the race detector.)
func TestRidersDecodeEnumsAtOnce(t *testing.T) {
	t.Parallel()
	for name, v := range map[string]string{
		"enum":      "m",
		"array":     "array[m]",
		"composite": "row(m, array[m])::known_many_pair",
		"record":    "row(m, 1)",
		"records":   "array[row(m, row(array[m]))]",
	} {
		for _, mode := range []pool.Switch{pool.Auto, pool.Off} {
			t.Run(name+" "+string(mode), func(t *testing.T) {
				t.Parallel()
				var labels []string
				for i := range 60 {
					labels = append(labels, fmt.Sprintf("'label %d'", i))
				}
				b := newLaneLab(t, &pool.Config{Lanes: mode, AfterConnect: func(ctx context.Context, c *pgx.Conn) error {
					types, err := c.LoadTypes(ctx, []string{"known_many", "_known_many", "known_many_pair"})
					c.TypeMap().RegisterTypes(types)
					return err
				}})
				b.exec("create type known_many as enum (" + strings.Join(labels, ", ") + ")")
				b.exec("create type known_many_pair as (m known_many, ms known_many[])")
				ctx := bounded(t)
				// each in an order of its own, so that each meets labels that no other has met
				sql := "select " + v + " as v, m::text as label from unnest(enum_range(null::known_many)) m order by md5(m::text || $1)"
				b.teach(ctx, sql, "")
				var fs []func()
				for i := range 12 {
					fs = append(fs, func() {
						if i%3 > 0 { // one row
							var v any
							var label string
							assert.NoError(t, b.p.QueryRow(ctx, sql, fmt.Sprint(i)).Scan(&v, &label))
							assert.Contains(t, fmt.Sprint(v), label)
							return
						}
						r, err := b.p.Query(ctx, sql, fmt.Sprint(i))
						assert.NoError(t, err)
						for r.Next() {
							v, err := r.Values()
							if assert.NoError(t, err) {
								assert.Contains(t, fmt.Sprint(v[0]), v[1])
							}
						}
						assert.NoError(t, r.Err())
					})
				}
				for try := 0; ; try++ { // a busy machine makes it slow for once
					b.saturate(ctx, fs)
					if mode == pool.Off || b.p.Stat().Lanes().Rides > 0 {
						break
					}
					require.Less(t, try, 30, "%v", b.p.Stat().Lanes().Alone)
				}
			})
		}
	}
}

// What is large stays within the lane's bound, or is read again alone.
func TestLargeAnswersArePgxs(t *testing.T) {
	t.Parallel()
	o := newOracle(t, nil, "")
	ctx := bounded(t)
	const sql = "select $2::text || repeat($1, $3) as v, $3 as n"
	o.teachAll(ctx, []question{{sql: sql, args: []any{"x", "", 1}}})
	ask := func(c string, n int) asking {
		return asking{question{sql: sql, args: []any{c, "begin ", n}}, "walk", ways["walk"]}
	}
	o.agree(ctx, []asking{ask("a", 100<<10), ask("b", 10), ask("世", 30<<10), ask("c", 255<<10), ask("d", 11)})
	s := o.p.Stat()
	assert.GreaterOrEqual(t, s.Lanes().Rides, int64(5), "%v", s.Lanes().Alone)

	// one of a megabyte among small ones: it alone is dropped, and not forgotten
	var want, got [3]answer
	as := []asking{ask("e", 12), ask("f", 1<<20), ask("g", 13)}
	var fs []func()
	for i, a := range as {
		want[i] = a.of(ctx, o.px)
		fs = append(fs, func() { got[i] = a.of(ctx, o.p) })
	}
	until := func(what string, ok func(before, after *pool.Stat) bool) { // a busy machine makes them slow for once
		for range 30 {
			before := o.p.Stat()
			o.saturate(ctx, fs)
			for i := range as {
				assert.Empty(t, differences(want[i], got[i]))
			}
			if ok(before, o.p.Stat()) {
				return
			}
		}
		t.Error(what, o.p.Stat().Lanes().Alone)
	}
	until("one runs again", func(_, after *pool.Stat) bool { return after.Lanes().Reruns-after.Lanes().GuardRefusals == 1 })
	until("all are large from then on", func(before, after *pool.Stat) bool {
		rode, alone := since(before, after)
		return rode == 0 && alone["large"] == 3
	})
}

// A notice of a function that may ride reaches whoever listens on the connection.
func TestARidersNoticeIsHeard(t *testing.T) {
	t.Parallel()
	var heard atomic.Int64
	b := newLaneLab(t, &pool.Config{
		LaneFunctions: []string{"noisy"},
		BeforeConnect: func(_ context.Context, c *pgx.ConnConfig) error {
			c.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { heard.Add(1) }
			return nil
		},
	})
	b.exec("create function noisy(int) returns int language plpgsql stable as $$ begin raise notice 'heard %', $1; return $1; end $$")
	ctx := bounded(t)
	b.teach(ctx, "select noisy($1)", 1)
	before := heard.Load()
	var fs []func()
	for i := range 5 {
		fs = append(fs, func() {
			var n int
			assert.NoError(t, b.p.QueryRow(ctx, "select noisy($1)", i).Scan(&n))
			assert.Equal(t, i, n)
		})
	}
	b.saturate(ctx, fs)
	assert.NotZero(t, b.p.Stat().Lanes().Rides, "%v", b.p.Stat().Lanes().Alone)
	assert.EqualValues(t, 5, heard.Load()-before)
}

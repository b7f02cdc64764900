package pool_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/pool"
)

// registers is AfterConnect of who has an enum and a composite of his own.
func registers(ctx context.Context, c *pgx.Conn) error {
	for _, name := range []string{"mood", "_mood", "pair"} {
		t, err := c.LoadType(ctx, name)
		if err != nil {
			return err
		}
		c.TypeMap().RegisterType(t)
	}
	return nil
}

// connReader reads a row as libraries do that take the connection's types.
type connReader struct {
	oid   uint32
	value any
	known bool
	same  bool // Conn's TypeMap is TypeMap
	err   error
}

func (r *connReader) ScanRow(rows pgx.Rows) error {
	m := rows.Conn().TypeMap()
	r.same = m == rows.TypeMap() && m == rows.Conn().TypeMap()
	f := rows.FieldDescriptions()[0]
	r.oid = f.DataTypeOID
	t, known := m.TypeForOID(f.DataTypeOID)
	if r.known = known; known {
		r.value, r.err = t.Codec.DecodeValue(m, f.DataTypeOID, f.Format, rows.RawValues()[0])
	}
	return nil
}

// The TypeMap of Rows.Conn is that of the rows, whether they rode or not, as with pgxpool.
func TestTheConnOfRowsHasTheirTypesHoweverTheyCame(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newLaneLab(t, &pool.Config{Logger: (&logs{}).logger(), AfterConnect: func(ctx context.Context, c *pgx.Conn) error { return registers(ctx, c) }})
	b.exec("create type mood as enum ('sad', 'glad'); create type pair as (a int, b mood)")
	px, err := pgxpool.ParseConfig(b.dsn)
	require.NoError(t, err)
	px.AfterConnect = registers
	theirs, err := pgxpool.NewWithConfig(ctx, px)
	require.NoError(t, err)
	t.Cleanup(theirs.Close)

	query := func(d interface {
		Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	}, sql string,
	) *connReader {
		r := &connReader{}
		rows, err := d.Query(ctx, sql)
		if !assert.NoError(t, err) {
			return r
		}
		for rows.Next() {
			assert.NoError(t, rows.Scan(r))
		}
		assert.NoError(t, rows.Err())
		if assert.NotNil(t, rows.Conn(), "after Close, too") {
			assert.NotNil(t, rows.Conn().TypeMap())
		}
		return r
	}
	row := func(d interface {
		QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	}, sql string,
	) *connReader {
		r := &connReader{}
		assert.NoError(t, d.QueryRow(ctx, sql).Scan(r))
		return r
	}
	rode := 0
	for _, sql := range []string{"select 'glad'::mood", "select array['sad','glad']::mood[]", "select (1, 'sad')::pair", "select row('glad'::mood, 7)", "select 7", "select now()"} {
		want := query(theirs, sql)
		require.True(t, want.known)
		for what, got := range map[string]*connReader{"Query": query(b.p, sql), "QueryRow": row(b.p, sql), "pgxpool's QueryRow": row(theirs, sql)} {
			if sql != "select now()" {
				assert.Equal(t, want, got, "alone: %s, %s", what, sql)
			}
			assert.True(t, got.known && got.same, what)
		}
		b.teach(ctx, sql)
		before := b.p.Stat().Lanes().Rides
		got := make([]*connReader, 4)
		b.together(ctx, b.company(ctx),
			func() { got[0] = query(b.p, sql) }, func() { got[1] = row(b.p, sql) },
			func() { got[2] = query(b.p, sql) }, func() { got[3] = row(b.p, sql) })
		rode += int(b.p.Stat().Lanes().Rides - before)
		for _, got := range got {
			if sql != "select now()" {
				assert.Equal(t, want, got, "riding: %s", sql)
			}
			assert.True(t, got.known && got.same, sql)
		}
	}
	assert.GreaterOrEqual(t, rode, 20, "they rode")
}

// The Conn of rows that rode does nothing but know types, and is nobody else's.
func TestTheConnOfRowsThatRodeIsClosedAndTheirsAlone(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	b := newLaneLab(t, &pool.Config{Logger: (&logs{}).logger(), AfterConnect: func(ctx context.Context, c *pgx.Conn) error { return registers(ctx, c) }})
	b.exec("create type mood as enum ('sad', 'glad'); create type pair as (a int, b mood)")
	const sql = "select array['sad','glad']::mood[] from generate_series(1, $1::int)"
	b.teach(ctx, sql, 3)
	var nobodys atomic.Int32
	ask := func() {
		rows, err := b.p.Query(ctx, sql, 3)
		if !assert.NoError(t, err) {
			return
		}
		defer rows.Close()
		if !rows.Conn().IsClosed() {
			return // it went alone
		}
		nobodys.Add(1)
		c := rows.Conn()
		assert.Same(t, c, rows.Conn())
		assert.ErrorContains(t, c.Ping(ctx), "conn closed")
		_, err = c.Exec(ctx, "select 1")
		assert.ErrorContains(t, err, "conn closed")
		assert.Equal(t, b.see.database(), c.Config().Database)
		// what is registered there is for these rows, and for no other
		_, spoiled := c.TypeMap().TypeForOID(77)
		assert.False(t, spoiled, "somebody else's type")
		c.TypeMap().RegisterType(&pgtype.Type{Name: "mine", OID: 77, Codec: pgtype.Int4Codec{}})
		_, mine := rows.TypeMap().TypeForOID(77)
		assert.True(t, mine)
		for rows.Next() {
			var moods []string
			assert.NoError(t, rows.Scan(&moods))
			assert.Equal(t, []string{"sad", "glad"}, moods)
		}
		rows.Close()
		// it outlives the rows
		var moods []string
		oid := rows.FieldDescriptions()[0].DataTypeOID
		text := []byte("{glad}")
		assert.NoError(t, c.TypeMap().Scan(oid, pgx.TextFormatCode, text, &moods))
		assert.Equal(t, []string{"glad"}, moods)
	}
	for range 10 {
		b.together(ctx, b.company(ctx), ask, ask, ask, ask)
	}
	assert.Positive(t, nobodys.Load())
	var wg sync.WaitGroup // for the race detector
	for range 8 {
		wg.Go(func() {
			for range 30 {
				ask()
			}
		})
	}
	wg.Wait()
}

// watcher is a tracer that looks at each connection that it is shown, as otelpgx does.
type watcher struct {
	mu   sync.Mutex
	seen map[string]int
}

func (w *watcher) look(c *pgx.Conn) {
	cfg := c.Config()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen[fmt.Sprint(cfg.Host, " ", cfg.Port, " ", cfg.User, " ", cfg.Database, " ", cfg.RuntimeParams["application_name"])]++
}

func (w *watcher) TraceQueryStart(ctx context.Context, c *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	w.look(c)
	return ctx
}

func (w *watcher) TraceQueryEnd(_ context.Context, c *pgx.Conn, _ pgx.TraceQueryEndData) { w.look(c) }

func (w *watcher) TraceAcquireStart(ctx context.Context, _ *pgxpool.Pool, _ pgxpool.TraceAcquireStartData) context.Context {
	return ctx
}

func (w *watcher) TraceAcquireEnd(_ context.Context, _ *pgxpool.Pool, d pgxpool.TraceAcquireEndData) {
	if d.Err == nil {
		w.look(d.Conn)
	}
}

// A tracer is shown the true host, user and database of what rides, and nobody panics, whatever the
// process's variables say.
func TestATracerOfWhatRidesSeesWhereItWent(t *testing.T) {
	for _, set := range []string{"", "PGTARGETSESSIONATTRS=read-write", "PGTARGETSESSIONATTRS=bogus", "PGSSLMODE=bogus", "PGSERVICE=nosuch", "PGPORT=bogus", "PGHOST=a,b"} {
		t.Run(set, func(t *testing.T) {
			ctx, w, l := bounded(t), &watcher{seen: map[string]int{}}, &logs{}
			b := newLaneLab(t, &pool.Config{Tracer: w, Logger: l.logger(), ApplicationName: "app"})
			b.teach(ctx, "select 1")
			if set != "" {
				k, v, _ := strings.Cut(set, "=")
				t.Setenv(k, v)
			}
			scoped, scope := b.p.OpenScope(ctx, "inv", time.Time{})
			before := b.p.Stat().Lanes().Rides
			one := func() {
				var n int
				assert.NotPanics(t, func() { assert.NoError(t, b.p.QueryRow(ctx, "select 1").Scan(&n)) })
				assert.Equal(t, 1, n)
			}
			b.together(ctx, b.company(ctx), one, one, one)
			assert.Positive(t, b.p.Stat().Lanes().Rides-before)
			held, err := b.p.Acquire(scoped)
			require.NoError(t, err)
			tx, err := held.Begin(ctx)
			require.NoError(t, err)
			scope.End()
			straggler := make(chan error)
			go func() { // a panic here would end all
				lo := tx.LargeObjects()
				_, err := lo.Create(ctx, 0)
				if err == nil {
					err = fmt.Errorf("a large object in somebody else's connection")
					straggler <- err
					return
				}
				straggler <- held.Conn().Ping(ctx)
			}()
			require.ErrorContains(t, <-straggler, "conn closed")
			w.mu.Lock()
			defer w.mu.Unlock()
			assert.Len(t, w.seen, 1, "%v", w.seen)
			assert.Zero(t, b.p.Stat().PanicCount())
		})
	}
}

package lmipool_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/iam"
	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/lmitest"
	"github.com/lmipool/lmipool/pool"
)

// The ways in which users put something around a pool.
type (
	// withLog embeds the interface.
	withLog struct{ lmipool.DB }
	// withMore embeds a type with a private name that embeds the interface.
	withMore struct{ withLog }
	// hidden shows nothing of the pool.
	hidden struct{ db lmipool.DB }
	// shown unwraps to it.
	shown struct{ hidden }
	// shownPool unwraps to the pool's own type.
	shownPool struct{ hidden }
	// loop unwraps to itself.
	loop struct{ hidden }
	// embedsPool embeds package pool's.
	embedsPool struct{ *pool.Pool }
)

func (s shown) Unwrap() lmipool.DB        { return s.db }
func (s shownPool) Unwrap() *lmipool.Pool { return s.db.(*lmipool.Pool) }
func (l *loop) Unwrap() lmipool.DB        { return l }

func (h hidden) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return h.db.Exec(ctx, sql, args...)
}

func (h hidden) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	return h.db.Query(ctx, sql, args...)
}

func (h hidden) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return h.db.QueryRow(ctx, sql, args...)
}

func (h hidden) CopyFrom(ctx context.Context, t pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	return h.db.CopyFrom(ctx, t, columns, src)
}

func (h hidden) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	return h.db.SendBatch(ctx, b)
}
func (h hidden) Begin(ctx context.Context) (pgx.Tx, error) { return h.db.Begin(ctx) }
func (h hidden) BeginTx(ctx context.Context, o pgx.TxOptions) (pgx.Tx, error) {
	return h.db.BeginTx(ctx, o)
}
func (h hidden) Ping(ctx context.Context) error { return h.db.Ping(ctx) }

// around puts something around db.
var around = map[string]func(db *lmipool.Pool) lmipool.DB{
	"the pool":                   func(db *lmipool.Pool) lmipool.DB { return db },
	"With":                       func(db *lmipool.Pool) lmipool.DB { return db.With(map[string]string{"app.tenant": "7"}) },
	"With twice":                 func(db *lmipool.Pool) lmipool.DB { return db.With(nil).With(map[string]string{"app.tenant": "7"}) },
	"embeds the pool":            func(db *lmipool.Pool) lmipool.DB { return embedded{db} },
	"embeds DB":                  func(db *lmipool.Pool) lmipool.DB { return withLog{DB: db} },
	"a pointer that embeds DB":   func(db *lmipool.Pool) lmipool.DB { return &withLog{DB: db.With(nil)} },
	"embeds what embeds DB":      func(db *lmipool.Pool) lmipool.DB { return &withMore{withLog: withLog{DB: db}} },
	"unwraps to DB":              func(db *lmipool.Pool) lmipool.DB { return shown{hidden{withLog{DB: db}}} },
	"unwraps to the pool":        func(db *lmipool.Pool) lmipool.DB { return &shownPool{hidden{db}} },
	"With, around, and embedded": func(db *lmipool.Pool) lmipool.DB { return withLog{DB: shown{hidden{db.With(nil)}}} },
	"hidden":                     func(db *lmipool.Pool) lmipool.DB { return hidden{db} },
	"pgxpool": func(*lmipool.Pool) lmipool.DB {
		p, err := pgxpool.New(context.Background(), os.Getenv("DATABASE_URL"))
		if err != nil {
			panic(err)
		}
		return p
	},
}

// startDoor wraps its handler with what the variable DOOR says.
func startDoor(db *lmipool.Pool) {
	c := &bulkheadChild{db: db}
	for range 2 {
		lmipool.Handler(around[os.Getenv("DOOR")](db), c.handle) // a second one says nothing again
	}
	lambda.Start(lmipool.Handler(around[os.Getenv("DOOR")](db), c.handle))
}

func TestWhateverIsAroundThePoolHandlerProtects(t *testing.T) {
	t.Parallel()
	for name := range around {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const timeout = 2 * time.Second
			ctx := boundedBy(t, time.Minute)
			f, stderr := functionWith(t, lmitest.Config{Timeout: timeout, Env: []string{"CHILD=door", "DOOR=" + name, "LMIPOOL_MARGIN=1500ms", "LMIPOOL_MAX_OVERRUNS=64"}})
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() { ask[outcome](ctx, t, f, task{Do: "overrun", Hold: "lease", For: 2 * timeout}) })
			}
			wg.Wait()
			if name == "hidden" || name == "pgxpool" { // as with aws-lambda-go alone
				require.NoError(t, f.Wait(ctx, func(s lmitest.Stats) bool { return s.Exits >= 1 }))
				assert.Positive(t, f.Stats().LateReplies)
				said := strings.Count(stderr(), "Handler protects nothing with this type of pool")
				assert.Positive(t, said)
				assert.LessOrEqual(t, said, f.Stats().Starts, "once in each process")
				assert.Contains(t, stderr(), map[string]string{"hidden": "type=lmipool_test.hidden", "pgxpool": "type=*pgxpool.Pool"}[name])
				return
			}
			r, _ := ask[outcome](ctx, t, f, task{Do: "panic", Hold: "string"})
			if assert.NotNil(t, r.Error) {
				assert.Equal(t, "boom", r.Error.Message)
			}
			_, s := ask[outcome](ctx, t, f, task{Do: "state"})
			assert.EqualValues(t, 8, s.Handlers.Overruns)
			assert.EqualValues(t, 1, s.Handlers.Panics)
			require.Eventually(t, func() bool {
				_, s := ask[outcome](ctx, t, f, task{Do: "state"})
				return s.Acquired == 0 && s.Handlers.Overrunning == 0
			}, 10*time.Second, 5*time.Millisecond, "what they held is back")
			assert.Zero(t, f.Stats().LateReplies)
			assert.Zero(t, f.Stats().Exits)
			assert.NotContains(t, stderr(), "protects nothing")
		})
	}
}

// A pool of package pool has scopes, and so has one bound to settings.
func TestAPoolThatOpenDidNotMakeHasScopesOnly(t *testing.T) {
	t.Parallel()
	plain, err := pool.New(t.Context(), pgtest.Database(t), nil)
	require.NoError(t, err)
	t.Cleanup(plain.Close)
	for name, db := range map[string]lmipool.DB{
		"a pool": plain, "With": plain.With(map[string]string{"app.tenant": "7"}), "embedded": embedsPool{plain}, "embedded DB": withLog{DB: plain},
	} {
		var kept context.Context
		_, err = lmipool.Handler(db, func(ctx context.Context, _ int) (int, error) { kept = ctx; return 0, db.Ping(ctx) })(bounded(t), 1)
		require.NoError(t, err, name)
		assert.ErrorIs(t, db.Ping(kept), pool.ErrInvocationEnded, name)
	}
}

func TestAnUnwrapThatReturnsItselfEnds(t *testing.T) {
	t.Parallel()
	out, err := lmipool.Handler(&loop{}, func(context.Context, int) (int, error) { return 7, nil })(bounded(t), 1)
	require.NoError(t, err)
	assert.Equal(t, 7, out)
}

// Whoever starts without a pool or a handler is told at the start, in a sentence.
func TestANilPoolOrHandlerIsAPanicThatSaysSo(t *testing.T) {
	t.Parallel()
	db := open(t, &logged{})
	fn := func(context.Context, int) (int, error) { return 0, nil }
	var none *lmipool.Pool
	for name, c := range map[string]struct {
		do   func()
		want string
	}{
		"nil":                          {func() { lmipool.Handler(nil, fn) }, "lmipool: Handler: the pool is nil (nil): look at Open's error before its result is used"},
		"a nil pool":                   {func() { lmipool.Handler(none, fn) }, "lmipool: Handler: the pool is nil (*lmipool.Pool)"},
		"a pool that is empty":         {func() { lmipool.Handler(&lmipool.Pool{}, fn) }, "not from Open"},
		"package pool's":               {func() { lmipool.Handler((*pool.Pool)(nil), fn) }, "the pool is nil (*pool.Pool)"},
		"a nil Bound":                  {func() { lmipool.Handler((*lmipool.Bound)(nil), fn) }, "the pool is nil (*lmipool.Bound)"},
		"an empty Bound":               {func() { lmipool.Handler(&lmipool.Bound{}, fn) }, "the pool is nil (*lmipool.Bound)"},
		"pgxpool's":                    {func() { lmipool.Handler((*pgxpool.Pool)(nil), fn) }, "the pool is nil (*pgxpool.Pool)"},
		"an embedded one":              {func() { lmipool.Handler(embedded{}, fn) }, "(lmipool_test.embedded)"},
		"an embedded one of pool's":    {func() { lmipool.Handler(embedsPool{}, fn) }, "the pool is nil (lmipool_test.embedsPool)"},
		"a pointer to an embedded one": {func() { lmipool.Handler((*embedded)(nil), fn) }, "the pool is nil (*lmipool_test.embedded)"},
		"an embedded interface":        {func() { lmipool.Handler(withLog{}, fn) }, "the pool is nil (lmipool_test.withLog)"},
		"unwrapped":                    {func() { lmipool.Handler(shown{}, fn) }, "the pool is nil (lmipool_test.shown)"},
		"a nil that unwraps":           {func() { lmipool.Handler((*shown)(nil), fn) }, "the pool is nil (*lmipool_test.shown)"},
		"no fn":                        {func() { lmipool.Handler[int, int](db, nil) }, "lmipool: Handler: the handler is nil (func(context.Context, int) (int, error))"},
		"HTTPHandler without pool":     {func() { lmipool.HTTPHandler(nil, http.NewServeMux()) }, "lmipool: HTTPHandler: the pool is nil"},
		"HTTPHandler without handler":  {func() { lmipool.HTTPHandler(db, nil) }, "lmipool: HTTPHandler: the handler is nil"},
		"HTTPHandler with a nil func":  {func() { lmipool.HTTPHandler(db, http.HandlerFunc(nil)) }, "the handler is nil (http.HandlerFunc)"},
		"Wrap without pool":            {func() { lmipool.Wrap(nil, fn) }, "lmipool: Wrap: the pool is nil"},
		"Start without pool":           {func() { lmipool.Start(none, fn) }, "lmipool: Start: the pool is nil"},
		"Start without fn":             {func() { lmipool.Start[int, int](db, nil) }, "lmipool: Start: the handler is nil"},
		"WithSIGTERM without pool":     {func() { lmipool.WithSIGTERM(none) }, "lmipool: WithSIGTERM: the pool is nil"},
	} {
		assert.Contains(t, recovered(c.do), c.want, name)
	}
	// A mock may be a nil pointer.
	_, err := lmipool.Handler((*mock)(nil), fn)(bounded(t), 1)
	assert.NoError(t, err)
}

// Every other argument that is nil is an error, or a panic with a sentence. pgxpool's
// SendBatch, AcquireFunc and calls without ctx dereference it.
func TestNilArgumentsAreNamed(t *testing.T) {
	t.Parallel()
	ctx := bounded(t)
	db := open(t, &logged{})
	_, err := db.Exec(ctx, "create table here (i int)")
	require.NoError(t, err)
	bound := db.With(map[string]string{"app.tenant": "7"})
	begun := func(context.Context, pgx.Tx) error { return nil }
	inTx := func(db lmipool.Beginner, fn func(context.Context, pgx.Tx) error) error {
		return lmipool.InTx(ctx, db, lmipool.TxOptions{}, fn)
	}
	held := func(do func(*pool.Lease) error) error {
		l, err := db.Acquire(ctx)
		require.NoError(t, err)
		defer l.Release()
		return do(l)
	}
	inside := func(do func(pgx.Tx) error) error {
		return inTx(db, func(_ context.Context, tx pgx.Tx) error { return do(tx) })
	}
	var none context.Context
	for name, c := range map[string]struct {
		do   func() error
		want string
	}{
		"InTx, no pool":        {func() error { return inTx(nil, begun) }, "lmipool: the pool is nil"},
		"InTx, a nil pool":     {func() error { return inTx((*lmipool.Pool)(nil), begun) }, "lmipool: the pool is nil"},
		"InTx, one of pool's":  {func() error { return pool.InTx(ctx, (*pool.Pool)(nil), pool.TxOptions{}, begun) }, "lmipool: the pool is nil"},
		"InTx, no function":    {func() error { return inTx(db, nil) }, "lmipool: the function is nil"},
		"AcquireFunc":          {func() error { return db.AcquireFunc(ctx, nil) }, "lmipool: the function is nil"},
		"SendBatch":            {func() error { return db.SendBatch(ctx, nil).Close() }, "lmipool: SendBatch: the batch is nil"},
		"SendBatch, bound":     {func() error { return bound.SendBatch(ctx, nil).Close() }, "lmipool: SendBatch: the batch is nil"},
		"SendBatch of a lease": {func() error { return held(func(l *pool.Lease) error { return l.SendBatch(ctx, nil).Close() }) }, "lmipool: SendBatch: the batch is nil"},
		"SendBatch of a tx":    {func() error { return inside(func(tx pgx.Tx) error { return tx.SendBatch(ctx, nil).Close() }) }, "lmipool: SendBatch: the batch is nil"},
		"CopyFrom": {func() error {
			_, err := db.CopyFrom(ctx, pgx.Identifier{"here"}, []string{"i"}, nil)
			return err
		}, "lmipool: CopyFrom: the source is nil"},
		"CopyFrom of a tx": {func() error {
			return inside(func(tx pgx.Tx) error {
				_, err := tx.CopyFrom(ctx, pgx.Identifier{"here"}, []string{"i"}, nil)
				return err
			})
		}, "lmipool: CopyFrom: the source is nil"},
		"Exec, no ctx":     {func() error { _, err := db.Exec(none, "select 1"); return err }, "lmipool: the ctx is nil"},
		"Query, no ctx":    {func() error { _, err := bound.Query(none, "select 1"); return err }, "lmipool: the ctx is nil"},
		"QueryRow, no ctx": {func() error { return db.QueryRow(none, "select 1").Scan() }, "lmipool: the ctx is nil"},
		"Acquire, no ctx":  {func() error { _, err := db.Acquire(none); return err }, "lmipool: the ctx is nil"},
		"Warm, no ctx":     {func() error { return db.Warm(none) }, "lmipool: the ctx is nil"},
		"Shutdown, no ctx": {func() error { return db.Shutdown(none) }, "lmipool: the ctx is nil"},
		"Detach, no ctx":   {func() error { lmipool.Detach(none, 0); return nil }, "lmipool: the ctx is nil"},
		"Alone, no ctx":    {func() error { lmipool.Alone(none); return nil }, "nil parent"},
		"Open, no ctx":     {func() error { _, err := lmipool.Open(none, "", nil); return err }, "lmipool: Open: the ctx is nil"},
		"Handler, no ctx": {func() error {
			_, err := lmipool.Handler(db, func(context.Context, int) (int, error) { return 0, nil })(none, 1)
			return err
		}, "lmipool: Handler: the ctx is nil"},
		"iam, no Source": {func() error { return (*iam.Source)(nil).BeforeConnect(ctx, &pgx.ConnConfig{}) }, "lmipool: iam: the Source is nil"},
		"a nil observer": {func() error {
			_, err := lmipool.Open(ctx, "", &lmipool.Config{Observers: []any{(*lmitest.Checker)(nil)}})
			return err
		}, "lmipool: Config.Observers[0] is a nil *lmitest.Checker"},
		"Call, no handler": {func() error { lmitest.Call[int, int](ctx, lmitest.CallOptions{}, nil, []int{1}); return nil }, "lmitest: Call: the handler is nil"},
	} {
		var err error
		text := recovered(func() { err = c.do() })
		if err != nil {
			text = err.Error()
		}
		assert.Contains(t, text, c.want, name)
		assert.NotContains(t, text, "nil pointer dereference", name)
	}
	assert.NoError(t, db.Ping(ctx))
	assert.Zero(t, db.Stat().AcquiredConns())
}

type mock struct{ lmipool.DB }

func recovered(do func()) (text string) {
	defer func() { text = fmt.Sprint(recover()) }()
	do()
	return ""
}

// Not parallel: it sets this process's environment and default logger.
func TestTheWarningIsForManagedInstances(t *testing.T) {
	log := &logged{}
	old := slog.Default()
	slog.SetDefault(log.logger())
	t.Cleanup(func() { slog.SetDefault(old) })
	type unknown struct{ hidden }
	fn := func(context.Context, int) (int, error) { return 0, nil }
	lmipool.Handler(unknown{}, fn)
	assert.Empty(t, log.text(), "not on Lambda")
	t.Setenv("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:9")
	t.Setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
	lmipool.Handler(unknown{}, fn)
	assert.Empty(t, log.text(), "each environment has one invocation")
	t.Setenv("AWS_LAMBDA_INITIALIZATION_TYPE", "lambda-managed-instances")
	lmipool.Handler(unknown{}, fn)
	lmipool.Handler(unknown{}, fn)
	assert.Equal(t, "lmipool_test.unknown", log.line(t, "protects nothing with this type of pool: a late reply or a panic ends the process, and what an invocation forgets stays out")["type"])
	plain, err := pool.New(t.Context(), pgtest.Database(t), nil)
	require.NoError(t, err)
	t.Cleanup(plain.Close)
	lmipool.Handler(plain, fn)
	assert.Equal(t, "*pool.Pool", log.line(t, "ends the process; give it what Open returned")["type"])
}

package pool_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/pool"
)

// step is one statement of a program about meanings.
type step struct {
	sql  string
	args []any
	mode pgx.QueryExecMode // 0: none is said
	how  int               // 0: QueryRow, 1: Exec, 2: in a batch with another, 3: CopyFrom into t, 4: prepared by name, 5: a savepoint, 6: back to it
}

func (s step) String() string { return fmt.Sprintf("%d %v %s %v", s.how, s.mode, s.sql, s.args) }

// copied is read back by what it stores.
const copied = "select at::text from t order by at desc limit 1"

// newStep is a statement that changes meanings, or one whose answer hangs on them.
func newStep(rng *rand.Rand, role string, changes bool) (s step) {
	all := deciding(role)
	d := all[rng.IntN(len(all))]
	if changes && rng.IntN(2) == 0 {
		name, value := d[0], d[1]
		temp := fmt.Sprintf("t (at, n) as select date '2031-01-01', 'temp%d'::text", rng.IntN(9))
		sets := []step{
			{sql: "set " + name + " = '" + value + "'"},
			{sql: "set local " + name + " = '" + value + "'"},
			{sql: "reset " + name},
			{sql: "reset all"},
			{sql: "select set_config('" + name + "', $1, $2)", args: []any{value, rng.IntN(2) == 0}},
			{sql: "select set_config($1, $2, $3)", args: []any{name, value, rng.IntN(2) == 0}},
			{sql: "select sets($1, $2)", args: []any{name, value}},
			{sql: "select sets_local($1, $2)", args: []any{name, value}},
			{sql: "insert into public.fires values ($1, $2)", args: []any{name, value}},
			{sql: "do $$ begin perform public.sets('" + name + "', '" + value + "'); end $$"},
			{sql: "select 1; set " + name + " = '" + value + "'"},
			{sql: "create temp table " + temp},
			{sql: "create temp view " + temp[:1] + " as " + temp[len("t (at, n) as "):]},
			{sql: "drop table if exists pg_temp.t"},
			{sql: "do $$ begin create temp table " + temp + "; end $$"},
			{sql: "set time zone 'America/New_York'"},
			{sql: "set schema 'b'"},
			{sql: "set session authorization default"},
			{sql: "set role none"},
			{sql: "set work_mem = '9MB'"},
			{sql: "discard temp"},
			{how: 5},
			{how: 6},
		}
		s = sets[rng.IntN(len(sets))]
		if s.how == 0 {
			s.how = 1
		}
		return s
	}
	s = step{sql: meanings[rng.IntN(len(meanings))], args: []any{"x"}, how: rng.IntN(3)}
	switch rng.IntN(10) {
	case 0:
		s = step{sql: "insert into t (at) values ($1) returning at::text", args: []any{time.Date(2030, 5, 6, 15, 4, 5, 0, time.UTC)}}
	case 1:
		s = step{sql: copied, how: 3}
	case 2:
		s.how = 4
	case 3:
		s = step{sql: "select inside()::text"}
	}
	s.mode = []pgx.QueryExecMode{0, 0, pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec}[rng.IntN(6)]
	return s
}

// subject is what steps run on.
type subject interface {
	querier
	CopyFrom(context.Context, pgx.Identifier, []string, pgx.CopyFromSource) (int64, error)
}

// ask runs s on q and returns what came of it. judge: nothing is to come from a cache.
func (s step) ask(ctx context.Context, q subject, n int, judge bool) string {
	args := s.args
	mode := s.mode
	if judge && mode != pgx.QueryExecModeExec {
		mode = pgx.QueryExecModeDescribeExec
	}
	if mode != 0 {
		args = append([]any{mode}, args...)
	}
	var v *string
	var err error
	switch s.how {
	case 0:
		err = q.QueryRow(ctx, s.sql, args...).Scan(&v)
	case 1:
		tag, e := q.Exec(ctx, s.sql, args...)
		if err = e; err == nil {
			return tag.String()
		}
	case 2:
		b := &pgx.Batch{}
		b.Queue(s.sql, s.args...).QueryRow(func(r pgx.Row) error { return r.Scan(&v) })
		b.Queue("select current_setting('TimeZone')||$1", "x")
		err = q.SendBatch(ctx, b).Close()
	case 3:
		if _, err = q.CopyFrom(ctx, pgx.Identifier{"t"}, []string{"at"}, pgx.CopyFromRows([][]any{{time.Date(2100, 1, 2, 3, 4, 5, 0, time.UTC)}})); err == nil {
			err = q.QueryRow(ctx, s.sql, args...).Scan(&v)
		}
	case 4:
		name := s.sql
		p, ok := q.(interface {
			Prepare(context.Context, string, string) (*pgconn.StatementDescription, error)
		})
		if _, alone := q.(*pgx.Conn); ok && (!alone || !judge) { // a lease has none
			name = fmt.Sprintf("named%d", n)
			_, err = p.Prepare(ctx, name, s.sql)
		}
		if err == nil {
			err = q.QueryRow(ctx, name, s.args...).Scan(&v)
		}
	case 5:
		_, err = q.Exec(ctx, "savepoint mine")
	case 6:
		_, err = q.Exec(ctx, "rollback to savepoint mine")
	}
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &pg):
		return "error " + pg.Code
	case err != nil:
		return "error"
	case v == nil:
		return "null"
	}
	return *v
}

// runs runs steps on q, each behind a savepoint if q is a transaction.
func runs(ctx context.Context, q subject, steps []step, judge *pgx.Conn) (got []string) {
	_, tx := q.(pgx.Tx)
	for i, s := range steps {
		if tx && s.how < 5 {
			_, _ = q.Exec(ctx, "savepoint s")
		}
		got = append(got, s.ask(ctx, q, i, judge != nil))
		if strings.HasPrefix(got[i], "error") && tx && s.how < 5 {
			_, _ = q.Exec(ctx, "rollback to savepoint s")
		}
		if judge != nil && judge.PgConn().TxStatus() != 'E' {
			_, _ = judge.Exec(ctx, "discard plans")
		}
	}
	return got
}

// Random programs of settings, temporary tables, With's settings and statements prepared by name answer
// what they answer on a new connection on which nothing was prepared before; and the next invocations, alone and on lanes,
// answer what a new connection answers, with no trace of them.
func TestProgramsMeanWhatTheyMeanOnANewConnection(t *testing.T) {
	t.Parallel()
	programs, seed := envInt(t, "LMIPOOL_TEST_PROGRAMS", 150), envSeed(t)
	dsn, role := meaningDatabase(t)
	rng := rand.New(rand.NewPCG(seed, 7))
	want := fresh(t, dsn, nil)
	slices.Sort(want)
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 1, Logger: slog.New(slog.DiscardHandler)})
	p.LooksAtOnce(false)
	clean := oneByOne(bounded(t), t, newPgx(t, dsn))
	steps := 0
	for i := range programs {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		how := rng.IntN(5)
		prog := make([]step, 2+rng.IntN(6))
		for j := range prog {
			prog[j] = newStep(rng, role, how != 3)
		}
		steps += len(prog)
		name := fmt.Sprintf("program %d, how %d: %v", i, how, prog)
		var got, should []string
		judge, err := pgx.Connect(ctx, dsn+"&default_query_exec_mode=describe_exec")
		require.NoError(t, err)
		switch how {
		case 0, 1: // a lease; the raw connection, which has pgx's caches as they are
			require.NoError(t, p.AcquireFunc(ctx, func(l *pool.Lease) error {
				if how == 0 {
					got = runs(ctx, l, prog, nil)
				} else {
					runs(ctx, l.Conn(), prog, nil)
				}
				return nil
			}))
			if how == 0 {
				should = runs(ctx, judge, prog, judge)
			}
		case 2, 4: // a transaction, which commits or rolls back
			end := errors.New("roll back")
			if rng.IntN(2) == 0 {
				end = nil
			}
			_ = pgx.BeginFunc(ctx, judge, func(tx pgx.Tx) error { should = runs(ctx, tx, prog, judge); return errAny })
			_ = lmipoolTx(ctx, p, how == 4, func(tx pgx.Tx) error { got = runs(ctx, tx, prog, nil); return end })
		case 3:
			d := deciding(role)[rng.IntN(9)]
			if d[0] == "standard_conforming_strings" {
				d = deciding(role)[0]
			}
			db := p.With(map[string]string{d[0]: d[1]})
			name += " with " + d[0]
			for j, s := range prog {
				if s.how == 4 || s.how == 3 {
					s.how = 0
				}
				got = append(got, s.ask(ctx, db, j, false))
				_ = pgx.BeginFunc(ctx, judge, func(tx pgx.Tx) error {
					_, _ = tx.Exec(ctx, "discard plans")
					_, _ = tx.Exec(ctx, "select set_config($1, $2, true)", d[0], d[1])
					should = append(should, s.ask(ctx, tx, j, true))
					return errAny
				})
			}
		}
		judge.Close(ctx)
		assert.Equal(t, should, got, name)
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() { assert.Equal(t, clean, oneByOne(ctx, t, p), "the next after "+name) })
		}
		wg.Wait()
		require.NoError(t, p.AcquireFunc(ctx, func(l *pool.Lease) error {
			lines, err := probe(ctx, l)
			slices.Sort(lines)
			left, lost := missing(lines, want), missing(want, lines)
			assert.Empty(t, append(left, lost...), "traces of "+name)
			return err
		}))
		cancel()
		if t.Failed() {
			return
		}
	}
	s := p.Stat()
	t.Logf("%d programs of %d statements; %d connections in all, %d closed because nothing resets what was left, %d rides", programs, steps, s.NewConnsCount(), s.Invocations().Unclean, s.Lanes().Rides)
}

var errAny = errors.New("any")

func lmipoolTx(ctx context.Context, p *pool.Pool, in bool, f func(pgx.Tx) error) error {
	if in {
		return pool.InTx(ctx, p, pool.TxOptions{}, func(_ context.Context, tx pgx.Tx) error { return f(tx) })
	}
	return pgx.BeginFunc(ctx, p, f)
}

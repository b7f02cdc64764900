package pool_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lmipool/lmipool/pool"
)

// kind is a way to use the pool for one statement, or for several that happen
// together or not at all.
type kind struct {
	name       string
	weight     int
	mayRide    bool
	parts      bool     // its token is sent more than once
	autonomous bool     // its effect stays although it fails
	stale      bool     // its plan may be out of date, and then it did not run
	guarded    bool     // the guard must stop it on a lane, where it may go
	fails      []string // the errors that it may get although nothing is wrong
	only       string   // "evil": only with the evil search_path; "dblink": only where there is dblink
	run        func(*call) error
}

// call is one use of a kind.
type call struct {
	*entry
	s   *storm
	r   *rand.Rand
	ctx context.Context
	end bool // its invocation soon takes back what it leaves open
}

func (c *call) violation(what, format string, args ...any) {
	c.s.b.violation(what, "%s %s: %s", c.kind.name, c.token, fmt.Sprintf(format, args...))
}

// asks runs sql, in one of the ways there are, and compares the rows, each as its
// values with bars between them. Every value has its Go type when it is compared.
func (c *call) asks(sql string, args []any, want ...string) error {
	got, err := c.rows(sql, args, len(want))
	if err == nil && !slices.Equal(got, want) {
		c.violation("another's answer", "%.200q, not %.200q", got, want)
	}
	return err
}

func (c *call) rows(sql string, args []any, expected int) (got []string, err error) {
	if expected == 1 && c.r.IntN(2) == 0 {
		var w whole
		err := c.s.p.QueryRow(c.ctx, sql, args...).Scan(&w)
		return []string{string(w)}, err
	}
	rows, err := c.s.p.Query(c.ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
		values, err := row.Values()
		return joined(values), err
	})
}

// whole is all of a row, as text.
type whole string

func (w *whole) ScanRow(rows pgx.Rows) error {
	values, err := rows.Values()
	*w = whole(joined(values))
	return err
}

func joined(values []any) string {
	s := make([]string, len(values))
	for i, v := range values {
		s[i] = fmt.Sprint(v)
	}
	return strings.Join(s, "|")
}

// fails runs sql, which must fail for a reason that names what only this call has.
func (c *call) fails(sql string, args []any, names string) error {
	_, err := c.rows(sql, args, 1)
	var pg *pgconn.PgError
	if err == nil {
		c.violation("no error", "%s", sql)
	} else if errors.As(err, &pg) && slices.Contains(c.kind.fails, pg.Code) && !strings.Contains(pg.Message, names) {
		c.violation("another's error", "%v names no %s", err, names)
	}
	return err
}

// writes runs sql, which leaves n rows with the token and answers with it.
func (c *call) writes(n int, sql string, args ...any) error {
	c.effects = n
	return c.asks(sql, append([]any{c.token}, args...), c.token)
}

// executes runs sql, which has no parameters and no answer.
func (c *call) executes(n int, sql string) error {
	c.effects = n
	_, err := c.s.p.Exec(c.ctx, fmt.Sprintf(sql, c.token))
	return err
}

// dawdles lets time pass, now and then, for the invocation to end.
func (c *call) dawdles() {
	if c.r.IntN(3) == 0 {
		time.Sleep(time.Duration(c.r.IntN(10_000)) * time.Microsecond)
	}
}

const someItems = 500

func (c *call) item() int { return 1 + c.r.IntN(someItems) }

// reads leave nothing. Most of them may ride.
var reads = []kind{
	{name: "point select", weight: 300, mayRide: true, run: func(c *call) error {
		id := c.item()
		return c.asks("select $1::text, id, name from items where id = $2", []any{c.token, id}, fmt.Sprintf("%s|%d|name %d", c.token, id, id))
	}},
	{name: "twenty rows", weight: 60, mayRide: true, run: func(c *call) error {
		id := c.item()
		var want []string
		for i := id; i < id+20 && i <= someItems; i++ {
			want = append(want, fmt.Sprintf("%s|%d|name %d", c.token, i, i))
		}
		return c.asks("select $1::text, id, name from items where id between $2 and $3 order by id", []any{c.token, id, id + 19}, want...)
	}},
	{name: "no row", weight: 30, mayRide: true, run: func(c *call) error {
		return c.asks("select $1::text, id from items where id = $2", []any{c.token, -c.item()})
	}},
	{name: "series", weight: 60, mayRide: true, run: func(c *call) error {
		from, n := c.r.IntN(1000), c.r.IntN(5)
		var want []string
		for i := range n {
			want = append(want, fmt.Sprintf("%d|%s", from+i, c.token))
		}
		return c.asks("select n, $1::text from generate_series($2::int, $3::int) n", []any{c.token, from, from + n - 1}, want...)
	}},
	{name: "many types", weight: 40, mayRide: true, run: func(c *call) error {
		n := c.r.Int64()
		return c.asks("with w(t) as (values ($1::text)) select t, $2::bigint, $3::int[], $4::jsonb, null::text, $5::bool from w",
			[]any{c.token, n, []int32{1, 2}, map[string]string{"a": c.token}, n%2 == 0},
			fmt.Sprintf("%s|%d|[1 2]|map[a:%s]|<nil>|%v", c.token, n, c.token, n%2 == 0))
	}},
	{name: "named arguments", weight: 20, mayRide: true, run: func(c *call) error {
		id := c.item()
		return c.asks("select @token::text, name from items where id = @id", []any{pgx.NamedArgs{"token": c.token, "id": id}}, fmt.Sprintf("%s|name %d", c.token, id))
	}},
	{name: "aggregate", weight: 30, mayRide: true, run: func(c *call) error {
		from := c.item()
		return c.asks("select $1::text, count(*), coalesce(sum(id), 0) from items where id >= $2", []any{c.token, from},
			fmt.Sprintf("%s|%d|%d", c.token, someItems-from+1, (from+someItems)*(someItems-from+1)/2))
	}},
	{name: "executed", weight: 20, mayRide: true, run: func(c *call) error {
		tag, err := c.s.p.Exec(c.ctx, "select $1::text, id from items where id < $2", c.token, 4)
		if err == nil && tag.String() != "SELECT 3" {
			c.violation("another's answer", "%s", tag)
		}
		return err
	}},
	{name: "large", weight: 6, mayRide: true, run: func(c *call) error {
		n := []int{10, 10, 10, 100_000, 300_000}[c.r.IntN(5)]
		return c.asks("select $1::text || repeat('x', $2::int)", []any{c.token, n}, c.token+strings.Repeat("x", n))
	}},
	{name: "sometimes slow", weight: 10, mayRide: true, run: func(c *call) error {
		n := []int{10, 10, 10, 10, 10, 300_000}[c.r.IntN(6)]
		return c.asks("select $1::text, count(*) from generate_series(1, $2::int) n where n % 3 >= 0", []any{c.token, n}, fmt.Sprintf("%s|%d", c.token, n))
	}},
	// What fails must have succeeded once to ride.
	{name: "division by zero", weight: 20, mayRide: true, fails: []string{"22012"}, run: func(c *call) error {
		if by := c.r.IntN(2); by > 0 {
			return c.asks("select $1::text, 7 / $2::int", []any{c.token, by}, c.token+"|7")
		}
		return c.fails("select $1::text, 7 / $2::int", []any{c.token, 0}, "division by zero")
	}},
	{name: "bad cast", weight: 40, mayRide: true, fails: []string{"22P02"}, run: func(c *call) error {
		if c.r.IntN(2) == 0 {
			return c.asks("select $1::text, $2::text::int", []any{c.token, "7"}, c.token+"|7")
		}
		return c.fails("select $1::text, $2::text::int", []any{c.token, c.token}, c.token)
	}},
	{name: "late error", weight: 20, mayRide: true, fails: []string{"22P02"}, run: func(c *call) error { // after its first rows
		const sql = "select $1::text, case when n < 5 then n else ($2::text || n)::int end from generate_series(1, 5) n"
		if c.r.IntN(2) == 0 {
			var want []string
			for n := range 5 {
				want = append(want, fmt.Sprintf("%s|%d", c.token, n+1))
			}
			return c.asks(sql, []any{c.token, ""}, want...)
		}
		return c.fails(sql, []any{c.token, c.token}, c.token)
	}},
	{name: "changing table", weight: 30, mayRide: true, stale: true, fails: []string{"0A000"}, run: func(c *call) error { // its v is now an int, now a text
		id := c.item()
		got, err := c.rows("select $1::text, s.* from shifty s where id = $2", []any{c.token, id}, 1)
		if err == nil && !slices.Equal(got, []string{fmt.Sprintf("%s|%d|%d", c.token, id, id)}) {
			c.violation("another's answer", "%q", got)
		}
		return err
	}},
	{name: "locked table", weight: 8, mayRide: true, run: func(c *call) error {
		id := c.item()
		return c.asks("select $1::text, id from locked where id = $2", []any{c.token, id}, fmt.Sprintf("%s|%d", c.token, id))
	}},
	{name: "rows left open", weight: 10, mayRide: true, run: func(c *call) error {
		rows, err := c.s.p.Query(c.ctx, "select $1::text, n from generate_series(1, 200) n", c.token)
		if err != nil {
			return err
		}
		for rows.Next() && c.r.IntN(3) > 0 {
			if v, err := rows.Values(); err == nil && v[0] != c.token {
				c.violation("another's answer", "%v", v)
			}
		}
		if !c.end || c.r.IntN(3) > 0 {
			rows.Close()
			return rows.Err()
		}
		return nil // the end of the invocation closes them
	}},
	{name: "in a transaction", weight: 10, parts: true, run: func(c *call) error {
		tx, err := c.s.p.BeginTx(c.ctx, pgx.TxOptions{AccessMode: pgx.ReadOnly})
		if err != nil {
			return err
		}
		defer tx.Rollback(c.ctx)
		for range 2 {
			var got string
			if err := tx.QueryRow(c.ctx, "select $1::text", c.token).Scan(&got); err != nil {
				return err
			}
			if got != c.token {
				c.violation("another's answer", "%s", got)
			}
		}
		return nil
	}},
	{name: "on a lease", weight: 10, run: func(c *call) error {
		l, err := c.s.p.Acquire(c.ctx)
		if err != nil {
			return err
		}
		defer l.Release()
		var got string
		if err := l.QueryRow(c.ctx, "select $1::text", c.token).Scan(&got); err != nil {
			return err
		}
		if got != c.token {
			c.violation("another's answer", "%s", got)
		}
		return nil
	}},
}

// writes say that they write.
var writes = []kind{
	{name: "insert", weight: 30, run: func(c *call) error {
		c.effects = 1
		tag, err := c.s.p.Exec(c.ctx, "insert into ledger(token) values ($1)", c.token)
		if err == nil && tag.RowsAffected() != 1 {
			c.violation("another's answer", "%s", tag)
		}
		return err
	}},
	{name: "insert returning", weight: 20, run: func(c *call) error {
		return c.writes(1, "insert into ledger(token) values ($1) returning token")
	}},
	{name: "insert returning, read late", weight: 10, run: func(c *call) error {
		c.effects = 1
		rows, err := c.s.p.Query(c.ctx, "insert into ledger(token) values ($1) returning token", c.token)
		if err == nil {
			c.dawdles()
			rows.Close()
			err = rows.Err()
		}
		return err
	}},
	{name: "unique key", weight: 20, fails: []string{"23505"}, run: func(c *call) error {
		c.effects = 1
		key := c.id
		if c.r.IntN(2) == 0 {
			key = 0 // taken
		}
		_, err := c.s.p.Exec(c.ctx, "with u as (insert into keys values ($2) returning id) insert into ledger(token) select $1 from u", c.token, key)
		if err == nil && key == 0 {
			c.violation("no error", "a key twice")
		}
		return err
	}},
	{name: "update", weight: 40, run: func(c *call) error { // its trigger keeps the ledger
		return c.writes(1, "update accounts set n = n + 1, last = $1 where id = $2 returning last", c.item()%20)
	}},
	{name: "transaction", weight: 40, parts: true, fails: []string{"22012"}, run: func(c *call) error {
		c.effects = 1 + c.r.IntN(3)
		how := c.r.IntN(6)
		tx, err := c.s.p.Begin(c.ctx)
		if err != nil {
			return err
		}
		for range c.effects {
			if _, err := tx.Exec(c.ctx, "insert into ledger(token) values ($1)", c.token); err != nil {
				_ = tx.Rollback(c.ctx)
				return err
			}
		}
		switch how {
		case 0:
			c.effects = 0
			return tx.Rollback(c.ctx)
		case 1:
			c.effects = 0
			if c.end {
				return nil // its end rolls it back
			}
			return tx.Rollback(c.ctx)
		case 2:
			_, err := tx.Exec(c.ctx, "select $1::text, 1 / $2::int", c.token, 0)
			_ = tx.Rollback(c.ctx)
			return err
		}
		return tx.Commit(c.ctx)
	}},
	{name: "batch", weight: 30, parts: true, fails: []string{"22012"}, run: func(c *call) error {
		c.effects = 1 + c.r.IntN(3)
		b := &pgx.Batch{}
		for range c.effects {
			b.Queue("insert into ledger(token) values ($1)", c.token)
		}
		b.Queue("select $1::text, 1 / $2::int", c.token, c.r.IntN(3))
		result := c.s.p.SendBatch(c.ctx, b)
		c.dawdles()
		return result.Close()
	}},
	{name: "copy", weight: 5, parts: true, run: func(c *call) error {
		c.effects = 3
		rows := [][]any{{c.token}, {c.token}, {c.token}}
		n, err := c.s.p.CopyFrom(c.ctx, pgx.Identifier{"ledger"}, []string{"token"}, pgx.CopyFromRows(rows))
		if err == nil && n != 3 {
			c.violation("another's answer", "%d", n)
		}
		return err
	}},
	{name: "do", weight: 8, run: func(c *call) error {
		return c.executes(1, "do $$ begin insert into ledger(token) values ('%s'); end $$")
	}},
	{name: "two statements", weight: 8, parts: true, run: func(c *call) error {
		return c.executes(2, "insert into ledger(token) values ('%[1]s'); insert into ledger(token) values ('%[1]s')")
	}},
}

// disguised are spelled as reads, or nearly so, and leave something.
var disguised = []kind{
	{name: "quiet function", weight: 30, run: func(c *call) error { // swallows its errors and reports success
		return c.writes(1, "select quiet($1)")
	}},
	{name: "quiet function in a where", weight: 15, run: func(c *call) error {
		id := c.item()
		return c.asks1("select $1::text, id from items where id = $2 and quiet($1) = $1", id)
	}},
	{name: "honest function", weight: 20, run: func(c *call) error { // swallows its errors and tells
		return c.writes(1, "select honest($1)")
	}},
	{name: "stable function", weight: 20, run: func(c *call) error {
		return c.writes(1, "select lies($1)")
	}},
	{name: "view", weight: 20, run: func(c *call) error {
		return c.writes(1, "select said from disguised where $1::text <> '' and id = $2", c.id)
	}},
	{name: "row policy", weight: 20, run: func(c *call) error {
		return c.writes(1, "select said from guarded where $1::text <> '' and id = $2", c.id)
	}},
	{name: "declared harmless", weight: 40, mayRide: true, guarded: true, run: func(c *call) error { // as LaneFunctions has it
		return c.writes(1, fmt.Sprintf("select declared($1) as try%d", c.r.IntN(50)))
	}},
	{name: "guard off", weight: 10, run: func(c *call) error {
		return c.writes(1, "select guard_off($1)")
	}},
	{name: "set_config default_transaction_read_only", weight: 6, run: func(c *call) error {
		return c.asks("select $1::text, set_config('default_transaction_read_only', 'off', false)", []any{c.token}, c.token+"|off")
	}},
	{name: "set_config transaction_read_only", weight: 6, run: func(c *call) error {
		return c.asks("select $1::text, set_config('transaction_read_only', 'off', false)", []any{c.token}, c.token+"|off")
	}},
	{name: "set_config", weight: 10, run: func(c *call) error {
		if c.s.evil {
			c.effects = 1
		}
		return c.asks("select set_config('storm.mark', $1, false)", []any{c.token}, c.token)
	}},
	{name: "cte", weight: 15, run: func(c *call) error {
		return c.writes(1, "with w as (insert into ledger(token) values ($1) returning token) select token from w")
	}},
	{name: "for update", weight: 10, run: func(c *call) error {
		return c.writes(0, "select $1::text from accounts where id = $2 for update", c.item()%20)
	}},
	{name: "session lock", weight: 10, run: func(c *call) error {
		return c.asks("select $1::text, pg_advisory_lock($2)::text, pg_advisory_unlock($2)", []any{c.token, c.id}, c.token+"||true")
	}},
	{name: "try session lock", weight: 10, run: func(c *call) error {
		return c.asks("select $1::text, pg_try_advisory_lock($2), pg_advisory_unlock($2)", []any{c.token, c.id}, c.token+"|true|true")
	}},
	{name: "transaction lock", weight: 10, run: func(c *call) error {
		return c.asks("select $1::text, pg_advisory_xact_lock(-1 - $2)::text", []any{c.token, c.id % 3}, c.token+"|")
	}},
	{name: "try transaction lock", weight: 10, run: func(c *call) error {
		return c.asks("select $1::text, pg_try_advisory_xact_lock($2)", []any{c.token, c.id}, c.token+"|true")
	}},
	{name: "lo_create", weight: 6, run: func(c *call) error {
		return c.writes(1, "select $1::text from lo_create($2::int::oid)", firstObject+c.id)
	}},
	{name: "lo_from_bytea", weight: 6, run: func(c *call) error {
		return c.writes(1, "select $1::text from lo_from_bytea(0, convert_to($1, 'UTF8'))")
	}},
	{name: "nextval", weight: 20, run: func(c *call) error {
		var got string
		var n int64
		err := c.s.p.QueryRow(c.ctx, "select $1::text, nextval('numbers')", c.token).Scan(&got, &n)
		if err == nil {
			if got != c.token {
				c.violation("another's answer", "%s", got)
			}
			if other, twice := c.s.numbers.LoadOrStore(n, c.token); twice {
				c.violation("a number twice", "%d, as %v", n, other)
			}
		}
		return err
	}},
	{name: "pg_notify", weight: 15, run: func(c *call) error {
		return c.writes(1, "select $1::text from pg_notify('storm', $1)")
	}},
	{name: "into", weight: 3, run: func(c *call) error {
		return c.executes(1, "select 1 as one into %s")
	}},
	{name: "lower", weight: 10, run: func(c *call) error { // in front of PostgreSQL's own
		c.effects = 1
		return c.asks("select lower($1::text)", []any{c.token}, "evil "+c.token)
	}, only: "evil"},
	{name: "dblink", weight: 5, autonomous: true, run: func(c *call) error {
		return c.writes(1, "select by_dblink($1)")
	}, only: "dblink"},
}

// firstObject is where the numbers of large objects begin that lo_create was given.
const firstObject = 10_000_000

// asks1 is for a write that answers with its token and id.
func (c *call) asks1(sql string, id int) error {
	c.effects = 1
	return c.asks(sql, []any{c.token, id}, fmt.Sprintf("%s|%d", c.token, id))
}

// declared are the functions that Config.LaneFunctions has, wrongly.
var declared = []string{"declared"}

// disguises are the functions that disguised writes go by.
var disguises = []string{
	"quiet", "quiet_row", "honest", "lies", "guard_off", "set_config", "lower", "nextval", "pg_notify", "by_dblink", "lo_create", "lo_from_bytea",
	"pg_advisory_lock", "pg_advisory_unlock", "pg_try_advisory_lock", "pg_advisory_xact_lock", "pg_try_advisory_xact_lock",
}

// fateOf says what err means for c's books, and finds errors that are nobody's or
// somebody else's.
func (c *call) fateOf(err error, ended bool) fate {
	c.known = err == nil || !pool.OutcomeUnknown(err)
	var pg *pgconn.PgError
	var acquire *pool.AcquireError
	over := c.ctx.Err() != nil
	switch {
	case err == nil:
		return fateDone
	case errors.Is(err, pool.ErrInvocationEnded):
		if !ended {
			c.violation("an end that was not its own", "%v", err)
		}
	case errors.As(err, &acquire): // dials are killed too; with no other connection that is for all who wait
		if !lost(err) && !errors.Is(err, pool.ErrNoTime) && (!over || !errors.Is(err, c.ctx.Err())) {
			c.violation("no connection, without its time being over", "%v", err)
		}
		return fateUnsent
	case errors.As(err, &pg) && pg.Code != killed:
		if !slices.Contains(c.kind.fails, pg.Code) && (pg.Code != "57014" || !over && !ended) {
			c.violation("an error of others", "%v", err)
		}
		return fateRefused
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		if !over && !ended {
			c.violation("an end that was not its own", "%v", err)
		}
	case !lost(err) && !over && !ended:
		c.violation("an error of nobody's", "%T %v", err, err)
	}
	return fateUnknown
}

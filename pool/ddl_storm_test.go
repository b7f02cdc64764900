package pool_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// changing is something that means another thing from one moment to the next: its version V. Every third version
// runs code of the user's that writes, and says whether it could.
type changing struct {
	name   string
	create string                                             // version 0
	change func(v int) string                                 // makes it version v
	sql    string                                             // reads it
	args   []any                                              //
	parse  func(row map[string]any) (version int, wrote bool) // version -1: the row does not say

	mu       sync.Mutex
	versions []span
}

// span is when a version was made: it may be seen from the first on, and must be from the second on.
type span struct{ sent, done time.Time }

// writing reports whether version v runs code that writes.
func writing(v int) bool { return v%3 == 2 }

// latest is how old a read's meaning may be.
const latest = time.Second

// wrong says what is wrong with an answer to a call.
func (c *changing) wrong(version int, wrote bool, began, ended time.Time) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := func(v int) bool { // the version at some moment of the call, or within a second before
		return c.versions[v].sent.Before(ended) && (v+1 == len(c.versions) || c.versions[v+1].done.IsZero() || c.versions[v+1].done.After(began.Add(-latest)))
	}
	young := func(v int) bool {
		return c.versions[v].done.IsZero() || c.versions[v].done.After(began.Add(-latest))
	}
	switch {
	case version >= len(c.versions):
		return fmt.Sprintf("version %d, which there is not", version)
	case version >= 0 && !was(version):
		return fmt.Sprintf("version %d, which has been replaced %v before", version, began.Sub(c.versions[version+1].done))
	case wrote:
		return ""
	}
	for v := range c.versions {
		if (version == v || version < 0) && was(v) && writing(v) && young(v) {
			return ""
		}
	}
	return fmt.Sprintf("version %d could not write", version)
}

// broken reports whether a statement that failed had no reason to: its thing had not changed for a second.
func (c *changing) broken(began, ended time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := c.versions[len(c.versions)-1]
	if last.sent.After(ended) {
		last = c.versions[len(c.versions)-2]
	}
	return !last.done.IsZero() && last.done.Before(began.Add(-latest))
}

func changingThings(database string) []*changing {
	said := func(v int) string {
		if writing(v) {
			return "said()"
		}
		return "true"
	}
	versionAndWrote := func(row map[string]any) (int, bool) { return int(row["version"].(int32)), row["wrote"].(bool) }
	onlyVersion := func(row map[string]any) (int, bool) { return int(row["version"].(int32)), true }
	nothing := func(map[string]any) (int, bool) { return -1, true }
	return []*changing{
		{
			name: "a view", create: "create view w as select 0 as version, true as wrote",
			change: func(v int) string {
				return fmt.Sprintf("create or replace view w as select %d as version, %s as wrote", v, said(v))
			},
			sql: "select * from w", parse: versionAndWrote,
		},
		{
			name: "a view below a view", create: "create view below as select 0 as version, true as wrote; create view above as select * from below",
			change: func(v int) string {
				return fmt.Sprintf("create or replace view below as select %d as version, %s as wrote", v, said(v))
			},
			sql: "select version, wrote from above where version > $1", args: []any{-1}, parse: versionAndWrote,
		},
		{
			name: "a view and a table in turn", create: "create view turn as select 0 as version, true as wrote",
			change: func(v int) string {
				drop := "do $$ begin execute (select 'drop ' || case relkind when 'v' then 'view' else 'table' end || ' turn' from pg_class where oid = 'turn'::regclass); end $$;"
				if v%2 == 0 {
					return drop + fmt.Sprintf("create view turn as select %d as version, %s as wrote", v, said(v))
				}
				return drop + fmt.Sprintf("create table turn as select %d as version, %s as wrote", v, said(v))
			},
			sql: "select version, wrote from turn", parse: versionAndWrote,
		},
		{
			name: "a function", create: "create function f() returns table (version int, wrote bool) language sql as 'select 0, true'",
			change: func(v int) string {
				return fmt.Sprintf("create or replace function f() returns table (version int, wrote bool) language sql as 'select %d, %s'", v, said(v))
			},
			sql: "select version, wrote from f()", parse: versionAndWrote,
		},
		{
			name: "an operator", create: "create function opf(int, int) returns int language sql as 'select 1'; create operator |+| (leftarg = int, rightarg = int, function = opf)",
			change: func(v int) string {
				return fmt.Sprintf("create or replace function opf(int, int) returns int language sql as 'select 2 * %d + %s::int'", v, said(v))
			},
			sql: "select $1::int |+| 1 as v", args: []any{1},
			parse: func(row map[string]any) (int, bool) { v := int(row["v"].(int32)); return v / 2, v%2 == 1 },
		},
		{
			name: "a policy", create: "create table p (n int); insert into p select generate_series(-3000, 3000); alter table p enable row level security; create policy pol on p using (n = 0)",
			change: func(v int) string {
				if writing(v) {
					return fmt.Sprintf("alter policy pol on p using (n = %d and said() or n = -%[1]d and not said())", v)
				}
				return fmt.Sprintf("alter policy pol on p using (n = %d)", v)
			},
			sql: "select n from p", parse: func(row map[string]any) (int, bool) { n := int(row["n"].(int32)); return max(n, -n), n >= 0 },
		},
		{
			name: "a domain", create: "create domain d int constraint c check (value > 0)",
			change: func(v int) string {
				return fmt.Sprintf("alter domain d drop constraint c; alter domain d add constraint c check (value > 0 and %s)", said(v))
			},
			sql: "select $1::int::d as ok", args: []any{1}, parse: nothing, // a violation says that it could not write
		},
		{
			name: "another table", create: "create table r as select 0 as version",
			change: func(v int) string { return fmt.Sprintf("drop table r; create table r as select %d as version", v) },
			sql:    "select version from r", parse: onlyVersion,
		},
		{
			name: "another column", create: "create table c as select 1 as id, 0 as version",
			change: func(v int) string {
				return fmt.Sprintf("alter table c drop column version; alter table c add column version int default %d", v)
			},
			sql: "select * from c where id = $1", args: []any{1}, parse: onlyVersion,
		},
		{
			name: "the types of a column", create: "create table s as select i as id, i * 10 as v from generate_series(1, 100) i",
			change: func(v int) string {
				return "alter table s alter v type " + []string{"int", "int8", "numeric", "text"}[v%4] + " using v::text::" + []string{"int", "int8", "numeric", "text"}[v%4]
			},
			sql: "select id, v from s where id = $1 and v::text::int = $2", args: []any{7, 70}, parse: nothing,
		},
		{
			name: "more columns", create: "create table m as select i as id from generate_series(1, 100) i",
			change: func(v int) string {
				if v%2 == 0 {
					return "alter table m drop column more"
				}
				return "alter table m add column more int"
			},
			sql: "select * from m where id = $1", args: []any{7}, parse: nothing,
		},
		{
			name: "an enum", create: "create type mood as enum ('a', 'v0'); create table e as select 1 as id, 'a'::mood as v",
			change: func(v int) string {
				return fmt.Sprintf("alter table e alter v type text; drop type mood; create type mood as enum ('a', 'v%d'); alter table e alter v type mood using v::mood", v)
			},
			sql: "select id, v from e where v = $1", args: []any{"a"}, parse: nothing,
		},
		{
			name: "a row's type", create: "create type pair as (x int); create table pairs (id int, v pair); insert into pairs values (1, row(0))",
			change: func(v int) string {
				if v%2 == 0 {
					return "alter type pair drop attribute y cascade"
				}
				return "alter type pair add attribute y int cascade"
			},
			sql: "select v from pairs where id = $1", args: []any{1}, parse: nothing,
		},
		{
			name: "the search_path", create: "create schema a; create schema b; create table a.here as select true as wrote; create view b.here as select said() as wrote; alter database " + database + " set search_path = a, public",
			change: func(v int) string {
				return "alter database " + database + " set search_path = " + []string{"a", "b"}[v%2] + ", public"
			},
			// b.here never changes, so on a connection that means it the function writes always.
			sql: "select wrote from here", parse: func(row map[string]any) (int, bool) {
				if !row["wrote"].(bool) {
					return 0, false // version 0 writes nothing
				}
				return -1, true
			},
		},
		{
			name: "what is written to", create: "create table ledger (token text)",
			change: func(v int) string {
				if v%2 == 0 {
					return "alter table ledger drop column more"
				}
				return "alter table ledger add column more int"
			},
			sql: "insert into ledger values ($1) returning *", parse: nothing,
		},
	}
}

// Reads and writes go on while somebody changes what their names mean, again and again: no answer is older than a
// second, none could not write what it had to, every write happens once, nothing stays broken, and there are no
// more errors than pgxpool has. LMIPOOL_TEST_DDL=60s is the storm; pgxpool has as long again.
func TestAStormOfDDL(t *testing.T) {
	dsn := pgtest.Database(t)
	see := newInspector(t, dsn)
	role := "reader_" + see.database()
	see.exec("create role " + role + " login; alter default privileges grant all on tables to " + role + "; alter default privileges grant all on schemas to " + role)
	t.Cleanup(func() { see.exec("drop owned by " + role + "; drop role " + role) })
	see.exec(`create table spoken (n int);
create function said() returns bool language plpgsql security definer as $$ begin insert into spoken values (1); return true; exception when read_only_sql_transaction then return false; end $$`)
	things := changingThings(see.database())
	for _, c := range things {
		see.exec(c.create)
		c.versions = []span{{time.Now(), time.Now()}}
	}
	dsn = dsnWith(t, dsn, func(u *url.URL) { u.User = url.User(role) })
	took := envDuration(t, "LMIPOOL_TEST_DDL", 3*time.Second)
	rng := rand.New(rand.NewPCG(envSeed(t), 5))

	const maxConns, lifetime = 4, 5 * time.Second // new connections have the new search_path
	cfg, err := pgxpool.ParseConfig(dsn)
	require.NoError(t, err)
	cfg.MaxConns, cfg.MaxConnLifetime, cfg.HealthCheckPeriod = maxConns, lifetime, lifetime/4
	theirs, err := pgxpool.NewWithConfig(context.Background(), cfg)
	require.NoError(t, err)
	defer theirs.Close()
	ours := newPoolAt(t, dsn, &pool.Config{MaxConns: maxConns, MaxConnLifetime: lifetime, HealthCheckPeriod: lifetime / 4, Logger: (&logs{}).logger()})
	ours.LooksAtOnce(false)

	var tokens atomic.Int64
	type book struct {
		db     doer
		mu     sync.Mutex
		calls  int
		errs   map[string]int
		wrong  map[string]string // by thing
		broken map[string]string
		done   map[string]bool // writes: acknowledged, or refused
	}
	books := []*book{{db: theirs}, {db: ours}}
	for _, b := range books {
		b.errs, b.wrong, b.broken, b.done = map[string]int{}, map[string]string{}, map[string]string{}, map[string]bool{}
	}
	call := func(b *book) {
		c := things[rand.IntN(len(things))]
		args, token := c.args, ""
		if strings.HasPrefix(c.sql, "insert") {
			token = fmt.Sprint("t", tokens.Add(1))
			args = []any{token}
		}
		began := time.Now()
		r, err := b.db.Query(context.Background(), c.sql, args...)
		var row map[string]any
		if err == nil {
			row, err = pgx.CollectExactlyOneRow(r, pgx.RowToMap)
		}
		ended := time.Now()
		wrong, version, wrote := "", -1, true
		var pg *pgconn.PgError
		switch {
		case errors.As(err, &pg) && pg.Code == "23514": // the domain's
			wrote, err = false, nil
			fallthrough
		case err == nil:
			if err == nil && row != nil {
				version, wrote = c.parse(row)
			}
			wrong = c.wrong(version, wrote, began, ended)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.calls++
		if wrong != "" {
			b.wrong[c.name] = wrong
		}
		if token != "" && (err == nil || errors.As(err, &pg)) {
			b.done[token] = err == nil
		}
		if err != nil {
			code := "no PgError"
			if pg != nil {
				code = pg.Code
			}
			b.errs[code]++
			// The type of a parameter was dropped, and this connection had prepared the statement before. PostgreSQL says so once on each connection, also to pgxpool.
			dropped := code == "XX000" && strings.HasPrefix(pg.Message, "cache lookup failed for type")
			if c.broken(began, ended) && !dropped {
				b.broken[c.name] = err.Error()
			}
		}
	}
	// In turn, since other programs have the machine too. A pool that pauses finds all of the pause's changes at once.
	turn := min(max(took/16, 500*time.Millisecond), 4*time.Second)
	slice := func(b *book) {
		end := time.Now().Add(turn)
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				for time.Now().Before(end) {
					call(b)
				}
			})
		}
		wg.Wait()
	}

	ctx, stop := context.WithCancel(context.Background())
	changes := 0
	var changer sync.WaitGroup
	changer.Go(func() {
		for ctx.Err() == nil {
			c := things[rng.IntN(len(things))]
			c.mu.Lock()
			v := len(c.versions)
			c.versions = append(c.versions, span{sent: time.Now()})
			c.mu.Unlock()
			see.exec(c.change(v))
			c.mu.Lock()
			c.versions[v].done = time.Now()
			c.mu.Unlock()
			changes++
			time.Sleep(time.Duration(20+rng.IntN(80)) * time.Millisecond)
		}
	})
	for end := time.Now().Add(2 * took); time.Now().Before(end); {
		for _, b := range books {
			slice(b)
		}
	}
	stop()
	changer.Wait()

	sum := func(m map[string]int) (n int) {
		for _, one := range m {
			n += one
		}
		return n
	}
	s := ours.Stat()
	t.Logf("%d changes of %d things; pgxpool: %d calls, errors %v; lmipool: %d calls (%.2f), errors %v; %d rode, %d ran again, alone %v; %d changes of the catalogs seen, %d rides unconfirmed",
		changes, len(things), books[0].calls, books[0].errs, books[1].calls, float64(books[1].calls)/float64(books[0].calls), books[1].errs,
		s.Lanes().Rides, s.Lanes().Reruns, s.Lanes().Alone, s.Lanes().CatalogChanges, s.Lanes().UnconfirmedRides)
	assert.Empty(t, books[0].wrong, "pgxpool, so the test is wrong")
	assert.Empty(t, books[1].wrong)
	assert.Empty(t, books[1].broken)
	assert.LessOrEqual(t, sum(books[1].errs), sum(books[0].errs))
	applied := map[string]int{}
	rows, err := see.c.Query(context.Background(), "select token, count(*)::int from ledger group by token")
	require.NoError(t, err)
	for rows.Next() {
		var token string
		var n int
		require.NoError(t, rows.Scan(&token, &n))
		applied[token] = n
	}
	require.NoError(t, rows.Err())
	for _, b := range books {
		for _, token := range slices.Sorted(maps.Keys(b.done)) {
			want := 0
			if b.done[token] {
				want = 1
			}
			if applied[token] != want {
				t.Errorf("%T: %s: %d times, %d wanted", b.db, token, applied[token], want)
			}
		}
	}
}

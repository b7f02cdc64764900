package pool_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lmipool/lmipool/internal/netfault"
	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

const stormGoroutines = 64

// storm is one pool on one database, and all that happens to it.
type storm struct {
	t     *testing.T
	seed  uint64
	dsn   string
	role  string
	conns int  // at most
	evil  bool // a schema with functions of PostgreSQL's names is searched first
	kinds []*kind
	b     *books
	p     *pool.Pool
	log   *logs
	proxy *netfault.Proxy
	most  int // backends at once

	looked   atomic.Int64 // how often somebody has asked the server for its backends, past the pool
	answered atomic.Int64 // calls that succeeded

	numbers sync.Map // that nextval has given, and to whom
	killed  sync.Map // backends, by pid
}

// stormSchema is what the statements of a storm use. The pool's role owns none of
// it, so that row policies hold for it.
const stormSchema = `
create table ledger (token text not null);
create table items as select id, 'name ' || id as name from generate_series(1, 500) id;
alter table items add primary key (id);
create table shifty as select id, id as v from generate_series(1, 500) id;
create table locked as select id from generate_series(1, 500) id;
create table keys (id int primary key);
insert into keys values (0);
create sequence numbers;
create table accounts as select id, 0 as n, '' as last from generate_series(0, 19) id;
create function booked() returns trigger language plpgsql as 'begin insert into public.ledger values (new.last); return null; end';
create trigger booked after update on accounts for each row execute function booked();

create function quiet(t text) returns text language plpgsql as
	'begin insert into public.ledger values (t); return t; exception when others then return t; end';
create function declared(t text) returns text language plpgsql as
	'begin insert into public.ledger values (t); return t; end';
create function honest(t text) returns text language plpgsql as
	'begin insert into public.ledger values (t); return t; exception when others then return sqlstate; end';
create function lies(t text) returns text stable language plpgsql as 'begin return public.quiet(t); end';
create function guard_off(t text) returns text language plpgsql as $$ begin
	perform pg_catalog.set_config('default_transaction_read_only', 'off', false);
	begin
		perform pg_catalog.set_config('transaction_read_only', 'off', false);
	exception when others then null;
	end;
	return public.quiet(t);
end $$;
create function quiet_row(id int) returns text language sql as $$ select public.quiet('tok' || lpad(id::text, 8, '0')) $$;
create table guarded as select id, 'tok' || lpad(id::text, 8, '0') as said from generate_series(1, %[1]d) id;
alter table guarded add primary key (id);
create view disguised as select id, public.quiet_row(id) as said from guarded_ids;
create policy writes on guarded using (public.quiet_row(id) = said);
alter table guarded enable row level security;
analyze;

create schema evil;
create function evil.lower(t text) returns text language plpgsql as
	$$ begin return 'evil ' || public.quiet(t); end $$;
create function evil.set_config(name text, value text, local boolean) returns text language plpgsql as $$ begin
	if name <> 'storm.mark' and value = 'off' then return value; end if; -- asked for
	return public.quiet(value); -- anything but a token is somebody's who did not ask for this one
end $$;
grant all on all tables in schema public to public;
grant all on all sequences in schema public to public;
grant all on schema public, evil to public;
`

// stormSettings are what AfterConnect sets, so that there is something to restore.
var stormSettings = map[string]string{"default_transaction_read_only": "off", "transaction_read_only": "off", "statement_timeout": "20s", "lock_timeout": "15s"}

// newStorm makes a storm of so many statements on so many connections. functions are
// wrongly taken for harmless.
func newStorm(t *testing.T, statements, conns int, evil bool, functions []string) *storm {
	s := &storm{t: t, seed: envSeed(t), conns: conns, evil: evil, b: newBooks(statements), log: &logs{}}
	s.dsn = pgtest.Database(t)
	s.role = fmt.Sprintf("storm_%d", rand.Uint64())
	c := s.connect()
	exec := func(sql string) {
		_, err := c.Exec(context.Background(), sql)
		require.NoError(t, err)
	}
	exec("create role " + s.role)
	t.Cleanup(func() {
		exec("drop owned by " + s.role)
		exec("drop role " + s.role)
		c.Close(context.Background())
	})
	exec(fmt.Sprintf("create table guarded_ids as select id from generate_series(1, %d) id; alter table guarded_ids add primary key (id)", statements))
	exec(fmt.Sprintf(stormSchema, statements))
	s.choose(s.addDblink(c))
	s.proxy = newProxy(t, s.dsn)
	var err error
	s.p, err = pool.New(context.Background(), s.dsn, &pool.Config{
		MaxConns: int32(s.conns), ApplicationName: "storm", Logger: s.log.logger(), LaneFunctions: slices.Concat(declared, functions),
		BeforeConnect: s.dials,
		ShouldPing: func(ctx context.Context, _ pgxpool.ShouldPingParams) bool {
			if ctx.Value(stormCall{}) == nil && rand.IntN(2) == 0 { // a lane, between who has boarded and what is sent
				time.Sleep(rand.N(8 * time.Millisecond))
			}
			return false
		},
		AfterConnect: func(ctx context.Context, c *pgx.Conn) error {
			for name, v := range stormSettings {
				if name == "transaction_read_only" {
					continue
				}
				if _, err := c.Exec(ctx, fmt.Sprintf("set %s = '%s'", name, v)); err != nil {
					return err
				}
			}
			return nil
		},
	})
	require.NoError(t, err)
	t.Cleanup(func() { // if it failed
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		s.p.Shutdown(ctx)
	})
	return s
}

// dials has a connection of the pool dialed through the proxy, read along, and
// belong to the role without privileges.
func (s *storm) dials(ctx context.Context, c *pgx.ConnConfig) error {
	c.RuntimeParams["role"] = s.role
	if s.evil {
		c.RuntimeParams["search_path"] = "evil, public, pg_catalog"
	}
	return errors.Join(through(s.proxy)(ctx, c), wrapped(func(nc *net.TCPConn) net.Conn { return &wire{TCPConn: nc, b: s.b} })(ctx, c))
}

func (s *storm) connect() *pgx.Conn {
	c, err := pgx.Connect(context.Background(), s.dsn)
	require.NoError(s.t, err)
	return c
}

// addDblink makes the function that writes through a connection of its own, if the
// server has the extension.
func (s *storm) addDblink(c *pgx.Conn) bool {
	ctx := context.Background()
	if _, err := c.Exec(ctx, "create extension dblink"); err != nil {
		s.t.Logf("without dblink: %v", err)
		return false
	}
	of := c.Config()
	_, err := c.Exec(ctx, fmt.Sprintf(`create function by_dblink(t text) returns text language plpgsql security definer as $$ begin
		perform public.dblink_exec('host=%s port=%d dbname=%s user=%s application_name=dblink', format('insert into ledger values (%%L)', t));
		return t;
	end $$`, of.Host, of.Port, of.Database, of.User))
	require.NoError(s.t, err)
	var got string
	if err := c.QueryRow(ctx, "select by_dblink('try')").Scan(&got); err != nil {
		s.t.Logf("without dblink: %v", err)
		return false
	}
	_, err = c.Exec(ctx, "delete from ledger")
	require.NoError(s.t, err)
	return true
}

// choose fills s.kinds, in which each kind stands as often as its weight says.
func (s *storm) choose(dblink bool) {
	for _, of := range [][]kind{reads, writes, disguised} {
		for i := range of {
			k := &of[i]
			if k.only == "evil" && !s.evil || k.only == "dblink" && !dblink {
				continue
			}
			s.kinds = append(s.kinds, slices.Repeat([]*kind{k}, k.weight)...)
		}
	}
}

// rage runs the storm, and then looks at what it has left behind.
func (s *storm) rage() {
	heard := s.listen()
	over := s.weather()
	began := time.Now()
	together(stormGoroutines, func(i int) { s.actor(rand.New(rand.NewPCG(s.seed, uint64(i)))) })
	took := time.Since(began)
	over()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // from here on: how long a storm takes, its machine says
	defer cancel()
	eventually(s.t, "everything came back", func() bool {
		st := s.p.Stat()
		return st.AcquiredConns() == 0 && st.Queued() == 0 && st.ConstructingConns() == 0 && st.TotalConns() == st.IdleConns()
	})
	s.sessions(ctx)
	st := s.p.Stat()
	assert.NoError(s.t, s.p.Shutdown(ctx))
	c := s.connect()
	defer c.Close(context.Background())
	eventually(s.t, "no backend is left", func() (none bool) {
		err := c.QueryRow(ctx, "select count(*) = 0 from pg_stat_activity where (application_name = 'dblink' or application_name like 'lmipool/%/storm') and datname = current_database()").Scan(&none)
		return assert.NoError(s.t, err) && none
	})
	s.audit(ctx, c, heard)
	s.summary(st, took)
}

// sessions looks at the settings of every connection, and at the locks that they have.
func (s *storm) sessions(ctx context.Context) {
	var all []*pool.Lease
	for range s.p.Stat().TotalConns() {
		l, err := s.p.Acquire(ctx)
		require.NoError(s.t, err)
		all = append(all, l)
	}
	looked := 0
	for _, l := range all {
		if l.Ping(ctx) != nil { // it was cut
			l.Release()
			continue
		}
		looked++
		for name, want := range stormSettings {
			var got string
			require.NoError(s.t, l.QueryRow(ctx, "select pg_catalog.current_setting($1)", name).Scan(&got))
			if got != want {
				s.b.violation("a setting has changed", "%s is %s, not %s", name, got, want)
			}
		}
		n := 0
		require.NoError(s.t, l.QueryRow(ctx, "select count(*) from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())").Scan(&n))
		if n > 0 {
			s.b.violation("an advisory lock is held", "%d", n)
		}
		l.Release()
	}
	assert.Positive(s.t, looked)
}

// listen hears what pg_notify says, until it is asked for what it heard.
func (s *storm) listen() (heard func() map[string]int) {
	c := s.connect()
	_, err := c.Exec(context.Background(), "listen storm")
	require.NoError(s.t, err)
	said := make(chan map[string]int, 1)
	go func() {
		defer c.Close(context.Background())
		all := make(map[string]int)
		for {
			n, err := c.WaitForNotification(context.Background())
			if err != nil || n.Payload == "over" {
				said <- all
				return
			}
			all[n.Payload]++
		}
	}()
	return func() map[string]int { return <-said }
}

// audit collects what the server has of each token.
func (s *storm) audit(ctx context.Context, c *pgx.Conn, heard func() map[string]int) {
	_, err := c.Exec(ctx, "select pg_notify('storm', 'over')")
	require.NoError(s.t, err)
	applied := heard()
	rows, err := c.Query(ctx, `select token from ledger
		union all select relname from pg_class where relname like 'tok%' and relkind = 'r'
		union all select convert_from(data, 'UTF8') from pg_largeobject
		union all select 'tok' || lpad((oid::bigint - $1)::text, 8, '0') from pg_largeobject_metadata where oid >= $1::bigint`, firstObject)
	require.NoError(s.t, err)
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(s.t, err)
	for _, of := range all {
		applied[of]++
	}
	s.b.audit(applied)

	var n, updates, numbers int
	err = c.QueryRow(ctx, "select sum(n), (select last_value from numbers) from accounts").Scan(&n, &numbers)
	require.NoError(s.t, err)
	given, asked := 0, 0
	s.numbers.Range(func(any, any) bool { given++; return true })
	ledger := make(map[string]int)
	for _, of := range all {
		ledger[of]++
	}
	for _, e := range s.b.opened() {
		switch {
		case e.kind.name == "update":
			updates += ledger[e.token]
		case e.kind.name == "nextval" && e.sent > 0:
			asked++
		}
	}
	if n != updates {
		s.b.violation("updates do not add up", "%d, not %d", n, updates)
	}
	if numbers < given || numbers > max(1, asked) {
		s.b.violation("numbers do not add up", "%d for %d acknowledged of %d", numbers, given, asked)
	}
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	for _, r := range s.log.records {
		if r.Level >= slog.LevelError {
			s.b.violation("an error in the log", "%s", r.Message)
		}
	}
}

// summary logs what the storm was like, and checks that it was one.
func (s *storm) summary(st *pool.Stat, took time.Duration) {
	fates := make(map[string]int)
	waiting, missed, gone, late := 0, 0, 0, 0
	for _, e := range s.b.opened() {
		fates[e.fate.String()]++
		if e.late {
			late++
		}
		if e.waiting {
			waiting++
		}
		if e.missed {
			missed++
		}
		if e.gone {
			gone++
		}
	}
	n := len(s.b.opened())
	s.t.Logf("%d statements in %v: %v; rides %d in %d flights, session guards %d, refusals %d, reruns %d, alone %v; connections %d, leaks %d, at most %d backends",
		n, took.Round(time.Millisecond), fates, st.Lanes().Rides, st.Lanes().Flights, s.b.guards.Load(), st.Lanes().GuardRefusals, st.Lanes().Reruns, st.Lanes().Alone, st.NewConnsCount(), st.Invocations().Leaks, s.most)
	s.t.Logf("after the end of their invocation: %d called; of %d that had not been sent, %d were; %d were sent when their caller had gone", late, waiting, missed, gone)
	// A statement that is on its way to the socket just then cannot be called back.
	if gone > 2+n/1000 {
		s.b.violation("sent after its caller had gone", "%d", gone)
	}
	if missed > 2+waiting/10 {
		s.b.violation("sent after its invocation had ended", "%d of %d", missed, waiting)
	}
	if st.PanicCount() > 0 {
		s.b.violation("panics", "%d", st.PanicCount())
	}
	if st.Lanes().Rides < int64(n/10) && s.conns > 1 { // where the only connection is cut again and again, little is learned
		s.b.violation("few rode", "%d of %d", st.Lanes().Rides, n)
	}
}

func (s *storm) calm() {
	s.b.report(s.t.Errorf)
}

// Invariants 1 to 5, under whatever 64 goroutines ask for, and with all that can happen to connections.
// Not parallel: goleak sees every goroutine of the process.
func TestStormOfStatements(t *testing.T) {
	n := 10_000
	if testing.Short() {
		n = 2000
	}
	pgtest.Database(t) // the server has a goroutine
	ignore := goleak.IgnoreCurrent()
	t.Run("storm", func(t *testing.T) {
		s := newStorm(t, n, 4, false, nil)
		s.rage()
		assert.Positive(t, s.b.guards.Load(), "some flights are long enough for the session guard")
		s.calm()
	})
	goleak.VerifyNone(t, ignore)
}

// What stands before pg_catalog in the search_path is neither taken for PostgreSQL's own, nor used by the pool itself.
func TestStormOfStatementsWithAnEvilSearchPath(t *testing.T) {
	s := newStorm(t, 1500, 1, true, nil)
	s.rage()
	s.calm()
}

// The storm can fail: with the functions of disguised writes taken for harmless, the same books are wrong.
func TestStormOfStatementsWithoutTheAllowlistIsFound(t *testing.T) {
	for range 4 { // now and then so many connections are cut that hardly anything rides
		s := newStorm(t, 2000, 4, false, disguises)
		s.rage()
		s.b.report(t.Logf)
		if slices.Contains(s.b.violations(), "acknowledged, but not exactly once") { // not only that they rode: also what came of it
			return
		}
	}
	t.Error("the books have found nothing")
}

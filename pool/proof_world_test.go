package pool_test

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/pool"
)

// world is a database with code of a user's own in it, and what makes statements that reach it.
type world struct {
	name    string
	g       *grammar
	plants  []plant
	writes  bool // its statements write
	names   userCode
	judges  []*judgeConn
	p       *pool.Pool
	version int
	dsn     string
}

// fuzzRole is whom statements run as: no superuser, whom policies do not hold.
const fuzzRole = "lmipool_fuzz"

// newWorld makes a database with some kits. What is made by chance follows from seed.
func newWorld(t testing.TB, name string, kits []kit, seed uint64, c *pool.Config) *world {
	t.Helper()
	ctx := context.Background()
	w := &world{name: name, writes: kits[0].name == writeKit.name}
	dsn := pgtest.Database(t)
	pc, err := pgconn.Connect(ctx, dsn)
	require.NoError(t, err)
	defer pc.Close(ctx)
	do := func(sql string) error { return pc.Exec(ctx, sql).Close() }
	fmt.Sscan(pc.ParameterStatus("server_version"), &w.version)
	require.NoError(t, do(`set client_min_messages = error; do $$ begin create role `+fuzzRole+` login; exception when duplicate_object or unique_violation then null; end $$`))
	require.NoError(t, do(baseSchema))
	if w.writes {
		require.NoError(t, do(writeSchema))
	}
	terminals := make(map[string][]string)
	maps.Copy(terminals, innocents)
	for _, k := range kits {
		if k.since > w.version {
			continue
		}
		require.NoError(t, do(k.ddl), k.name)
		for _, pl := range k.plants {
			if pl.since <= w.version && (pl.typ != "stmt" || !w.writes) {
				w.plants = append(w.plants, pl)
			}
		}
		maps.Copy(terminals, k.types)
	}
	w.g = newGrammar(w.version, terminals, w.writes)
	w.views(do, seed)
	database := pgconnDatabase(t, dsn)
	require.NoError(t, do(`grant usage on schema public to public; do $$ declare s text; begin for s in select nspname from pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema' loop
		execute format('grant usage on schema %1$I to public; grant all on all tables in schema %1$I to public; grant all on all sequences in schema %1$I to public', s); end loop; end $$`))
	for _, k := range kits {
		if k.after != "" && k.since <= w.version {
			require.NoError(t, do(strings.ReplaceAll(k.after, "«db»", database)), k.name)
		}
	}
	w.names, err = readUserCode(ctx, pc)
	require.NoError(t, err)
	w.dsn = asRole(dsn)
	t.Cleanup(w.closeJudges)
	w.p = newPoolAt(t, w.dsn, c)
	return w
}

// connectJudges gives the world new connections for its judges. Tables are small, so plans that big ones would have are forced.
func (w *world) connectJudges(ctx context.Context) error {
	w.closeJudges()
	for _, settings := range [][]string{
		{"plan_cache_mode = force_custom_plan", "debug_print_rewritten = on", "client_min_messages = log"},
		{"plan_cache_mode = force_generic_plan", "enable_seqscan = off", "enable_nestloop = off", "enable_hashagg = off", "constraint_exclusion = on"},
		{"plan_cache_mode = force_custom_plan", "enable_seqscan = off", "enable_hashjoin = off", "enable_nestloop = off", "enable_sort = off", "constraint_exclusion = on"},
	} {
		all := "set debug_pretty_print = off; set jit = off; set statement_timeout = '1s'; set lock_timeout = '5s'"
		for _, s := range settings {
			all += "; set " + s
		}
		j, err := connectJudge(ctx, w.dsn, all)
		if err != nil {
			return err
		}
		w.judges = append(w.judges, j)
	}
	return nil
}

func (w *world) closeJudges() {
	for _, j := range w.judges {
		j.close()
	}
	w.judges = nil
}

// views makes some views by chance, with and without something planted, which are plants of their own.
func (w *world) views(do func(string) error, seed uint64) {
	for i := range 24 {
		w.g.seed(seed, 1<<40+uint64(i))
		var e piece
		if i%8 == 7 {
			e = w.g.fill("qint", 3, true)
		} else {
			pl := w.plants[w.g.IntN(len(w.plants))]
			if pl.typ == "stmt" || pl.typ == "write" {
				continue
			}
			var ok bool
			if e, ok = w.query(pl); !ok {
				continue
			}
		}
		sql, _ := finish(w.g.closed(e).sql, true)
		name := fmt.Sprintf("random%d", i)
		option := []string{"", "", " with (security_barrier)"}[w.g.IntN(3)]
		if do(fmt.Sprintf("create view %s(x)%s as %s", name, option, sql)) == nil {
			w.plants = append(w.plants, reach("int", "«@"+name+"».x", "", 0))
		}
	}
}

// query wraps what is planted until it is a query of one column.
func (w *world) query(pl plant) (piece, bool) {
	e := w.g.expand(pl.production, nil, 1)
	for range 6 {
		if e.typ == "qint" {
			return e, true
		}
		var ok bool
		if e, ok = w.g.wrap(e, "qint"); !ok {
			if e, ok = w.g.wrap(e, ""); !ok {
				return e, false
			}
		}
	}
	return e, e.typ == "qint"
}

func asRole(dsn string) string {
	u, err := url.Parse(dsn)
	if err != nil {
		return dsn + " user=" + fuzzRole
	}
	u.User = url.User(fuzzRole)
	return u.String()
}

func pgconnDatabase(t testing.TB, dsn string) string {
	t.Helper()
	c, err := pgconn.ParseConfig(dsn)
	require.NoError(t, err)
	return c.Database
}

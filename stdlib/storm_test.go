package stdlib_test

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/pool"
)

// Sessions, transactions, statements, reads that ride, cancels, scopes that end, and connections that die: nobody sees another's session or rows, what was
// committed is there, and everything comes back. LMIPOOL_TEST_SQL_STORM=60s makes it long.
func TestStormOfDatabaseSQL(t *testing.T) {
	t.Parallel()
	const maxConns, stormers = 3, 24
	took, err := time.ParseDuration(os.Getenv("LMIPOOL_TEST_SQL_STORM"))
	if err != nil {
		took = 3 * time.Second
	}
	l := newLab(t, &pool.Config{MaxConns: maxConns, MaxWait: -1, MaxQueue: -1})
	l.exec(`create table items as select id, 'item ' || id as name from generate_series(1, 1000) id; alter table items add primary key (id);
		create table counts (who int primary key, n int); insert into counts select i, 0 from generate_series(0, 99) i; create table numbered (id serial, who int)`)
	storm, cancel := context.WithTimeout(t.Context(), took)
	defer cancel()
	read, err := l.db.Prepare("select name from items where id = $1")
	require.NoError(t, err)
	var did [8]atomic.Int64
	var wg sync.WaitGroup
	for who := range stormers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(who), uint64(time.Now().UnixNano())))
			least := 0 // what was acknowledged
			unsure := 0
			for storm.Err() == nil {
				ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second) // each call has its own time
				kind := rng.IntN(len(did))
				id := 1 + rng.IntN(1000)
				switch kind {
				case 0, 1: // a read, by a text or a Stmt, which rides if it can
					var name string
					var err error
					if kind == 0 {
						err = l.db.QueryRowContext(ctx, "select name from items where id = $1", id).Scan(&name)
					} else {
						err = read.QueryRowContext(ctx, id).Scan(&name)
					}
					if err == nil {
						did[kind].Add(1)
						assert.Equal(t, fmt.Sprintf("item %d", id), name)
					}
				case 2: // a session
					if session(ctx, t, l.db, who, id) {
						did[kind].Add(1)
					}
				case 3: // a transaction
					done, err := count(ctx, l.db, who)
					if done && err == nil {
						least++
						did[kind].Add(1)
					} else if done {
						unsure++
					}
				case 4: // a transaction that is rolled back, or whose ctx ends
					short, end := context.WithCancel(ctx)
					tx, err := l.db.BeginTx(short, nil)
					if err == nil {
						_, _ = tx.ExecContext(short, "set app.who = 'rolled back'")
						_, _ = tx.ExecContext(short, "update counts set n = n + 1000000 where who = $1", who)
						if rng.IntN(2) == 0 {
							end()
						}
						if tx.Rollback() == nil {
							did[kind].Add(1)
						}
					}
					end()
				case 5: // a cancel
					short, end := context.WithTimeout(ctx, time.Duration(rng.IntN(30))*time.Millisecond)
					_, err := l.db.ExecContext(short, "select pg_sleep(10)")
					assert.Error(t, err)
					end()
					did[kind].Add(1)
				case 6: // a scope that ends with everything open
					scoped, scope := l.p.OpenScope(ctx, fmt.Sprint("request ", id), time.Time{})
					c, err := l.db.Conn(scoped)
					if err == nil {
						_, _ = c.ExecContext(scoped, "set app.who = 'left behind'")
						rows, err := c.QueryContext(scoped, "select pg_advisory_lock_shared(1000 + i) from generate_series(1, 100) i")
						if err == nil {
							rows.Next()
						}
						scope.End()
						if err == nil {
							rows.Close()
						}
						_ = c.Close()
						did[kind].Add(1)
					}
					scope.End()
				default: // a connection dies, now and then
					if rng.IntN(4) == 0 {
						_, _ = l.pgx.ExecContext(ctx, "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() order by random() limit 1")
						did[kind].Add(1)
					}
					time.Sleep(time.Duration(rng.IntN(5)) * time.Millisecond)
				}
				cancel()
			}
			var n int
			require.Eventually(t, func() bool {
				return l.pgx.QueryRow("select n from counts where who = $1", who).Scan(&n) == nil
			}, 20*time.Second, 10*time.Millisecond)
			assert.GreaterOrEqual(t, n, least, "what was committed is there")
			assert.LessOrEqual(t, n, least+unsure, "and nothing else")
		})
	}
	wg.Wait()
	require.NoError(t, read.Close())
	l.idle()
	for kind := range did {
		t.Logf("kind %d: %d times", kind, did[kind].Load())
		assert.NotZero(t, did[kind].Load(), "kind %d never succeeded", kind)
	}
	require.Eventually(t, func() bool { // the resets of the last users are sent within milliseconds
		var locks int
		return l.pgx.QueryRow("select count(*) from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())").Scan(&locks) == nil && locks == 0
	}, 20*time.Second, 10*time.Millisecond)
	s := l.p.Stat()
	assert.LessOrEqual(t, s.TotalConns(), int32(maxConns))
	t.Logf("%d rides on %d flights, %d resets, %d connections", s.Lanes().Rides, s.Lanes().Flights, s.Invocations().Resets, s.NewConnsCount())
}

// session leaves things in a session, and finds them there as long as the session lives. It reports whether it lived to the end.
func session(ctx context.Context, t *testing.T, db *sql.DB, who, id int) bool {
	c, err := db.Conn(ctx)
	if err != nil {
		return false
	}
	defer c.Close()
	var left string
	if c.QueryRowContext(ctx, "select coalesce(current_setting('app.who', true), '')").Scan(&left) == nil {
		assert.Empty(t, left, "nobody's setting is here")
	}
	mine := fmt.Sprintf("who %d %d", who, id)
	if _, err := c.ExecContext(ctx, "select set_config('app.who', $1, false)", mine); err != nil {
		return false
	}
	if _, err := c.ExecContext(ctx, "create temporary table mine as select 1 as id"); err != nil {
		return false
	}
	if _, err := c.ExecContext(ctx, "insert into numbered (who) values ($1)", who); err != nil {
		return false
	}
	for range 3 {
		var found, name string
		var n, by int
		err := c.QueryRowContext(ctx, "select current_setting('app.who'), (select count(*) from mine), (select who from numbered where id = lastval())").Scan(&found, &n, &by)
		if err != nil {
			return false
		}
		assert.Equal(t, mine, found)
		assert.Equal(t, who, by)
		if err := c.QueryRowContext(ctx, "select name from items where id = $1", id).Scan(&name); err != nil {
			return false
		}
		assert.Equal(t, fmt.Sprintf("item %d", id), name)
	}
	return true
}

// count adds 1 in a transaction. It reports whether it came to the commit, and the commit's error.
func count(ctx context.Context, db *sql.DB, who int) (done bool, err error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return false, err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, "update counts set n = n + 1 where who = $1", who); err != nil {
		return false, err
	}
	return true, tx.Commit()
}

package pool_test

import (
	"context"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/internal/netfault"
	"github.com/lmipool/lmipool/internal/pgtest"
	"github.com/lmipool/lmipool/observe"
	"github.com/lmipool/lmipool/pool"
)

// pair is a writer and a standby that stay what they are. What a test moves is what leads to them.
type pair struct {
	*pgtest.Cluster
	port string
}

func newPair(t *testing.T) *pair {
	t.Helper()
	c, err := pgtest.StartCluster(bounded(t), pgtest.Options{})
	require.NoError(t, err)
	t.Cleanup(c.Stop)
	_, port, _ := net.SplitHostPort(c.Writer.Addr())
	return &pair{c, port}
}

// table makes one on both, with an id.
func (c *pair) table(t *testing.T, name string) *inspector {
	t.Helper()
	i := newInspector(t, c.Writer.ConnString())
	i.exec("create table " + name + " (id int primary key)")
	s := newInspector(t, c.Standby.ConnString())
	eventually(t, "the standby has it", func() bool { return s.count("select count(*) from pg_class where relname = '"+name+"'") == 1 })
	return i
}

// name is a name in DNS that leads to one of them.
type name struct{ host atomic.Pointer[string] }

func (n *name) lead(s *pgtest.Server) {
	host, _, _ := net.SplitHostPort(s.Addr())
	n.host.Store(&host)
}

func (n *name) dial(_ context.Context, c *pgx.ConnConfig) error {
	c.LookupFunc = func(context.Context, string) ([]string, error) { return []string{*n.host.Load()}, nil }
	return nil
}

// named is a connection string with a host of its own.
func (c *pair) named(more string) string {
	return "postgres://postgres@db.test:" + c.port + "/postgres?sslmode=disable" + more
}

// through is a connection string through a PgBouncer whose server a test can move.
func (c *pair) through(t *testing.T) (dsn string, move func(*pgtest.Server)) {
	t.Helper()
	proxy, err := netfault.Listen(c.Writer.Addr())
	require.NoError(t, err)
	t.Cleanup(proxy.Close)
	dsn = bouncer(t, "postgres://postgres@"+proxy.Addr()+"/postgres?sslmode=disable", "server_login_retry = 0")
	return dsn, func(s *pgtest.Server) {
		proxy.Retarget(s.Addr())
		proxy.Cut()
	}
}

// serve is the address of the server that answers.
const serve = "select host(inet_server_addr())"

func TestAroundAWriterAndAStandby(t *testing.T) {
	t.Parallel()
	c := newPair(t)
	t.Run("a stale name is waited out", c.aStaleNameIsWaitedOut)
	t.Run("who has written knows a standby", c.whoHasWrittenKnowsAStandby)
	t.Run("a reader that is written to stays a reader", c.aReaderThatIsWrittenToStaysAReader)
	t.Run("a read-only transaction is nobody's failover", c.aReadOnlyTransactionIsNobodysFailover)
	t.Run("several hosts", c.severalHosts)
	t.Run("healthy sockets to what was the writer", c.healthySocketsToWhatWasTheWriter)
}

func (c *pair) aStaleNameIsWaitedOut(t *testing.T) {
	c.table(t, "stale")
	var n name
	n.lead(c.Standby)
	log := &logs{}
	p := newPoolAt(t, c.named("&target_session_attrs=read-write"), &pool.Config{BeforeConnect: n.dial, Logger: log.logger()})
	done := make(chan error)
	for id := range 8 {
		go func() {
			_, err := p.Exec(bounded(t), "insert into stale values ($1)", id)
			done <- err
		}()
	}
	eventually(t, "all wait, and it was dialed twice", func() bool { return p.Stat().Dials().Failed >= 2 && p.Stat().Queued() == 8 })
	n.lead(c.Writer)
	for range 8 {
		require.NoError(t, ends(t, "the wait for the name", done))
	}
	lines := log.lines()
	require.Len(t, lines, 2, "once how it is, once that it is over")
	assert.Contains(t, lines[0], "the server is a standby")
	assert.Contains(t, lines[1], "the server is back")

	n.lead(c.Standby)
	q := newPoolAt(t, c.named("&target_session_attrs=primary"), &pool.Config{BeforeConnect: n.dial, Logger: log.logger()})
	err := inTime(t, 300*time.Millisecond, is(pool.ErrServerAway), func(ctx context.Context) error { return second(q.Exec(ctx, "select 1")) })
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, err, pool.ErrServerAway)
	assert.True(t, pool.Retryable(err))
	require.ErrorContains(t, err, "(db.test): ValidateConnect failed: the server is a standby, and this pool writes")
	assert.False(t, pool.OutcomeUnknown(err))
	t.Log(err)
}

func (c *pair) whoHasWrittenKnowsAStandby(t *testing.T) {
	i := c.table(t, "learned")
	var n name
	n.lead(c.Writer)
	p := newPoolAt(t, c.named("&application_name=learned"), &pool.Config{BeforeConnect: n.dial, Logger: (&logs{}).logger()})
	_, err := p.Exec(bounded(t), "insert into learned values (1)")
	require.NoError(t, err)
	n.lead(c.Standby)
	i.exec("select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name like 'lmipool/%/learned'")
	done := make(chan error)
	go func() {
		_, err := p.Exec(bounded(t), "insert into learned values (2)")
		done <- err
	}()
	eventually(t, "the standby was found", func() bool { return p.Stat().Dials().Failed >= 2 })
	n.lead(c.Writer)
	require.NoError(t, ends(t, "the wait for the name", done))
	assert.Equal(t, 2, i.count("select count(*) from learned"))
}

func (c *pair) aReaderThatIsWrittenToStaysAReader(t *testing.T) {
	c.table(t, "read")
	for _, more := range []string{"", "&target_session_attrs=standby", "&target_session_attrs=any"} {
		var n name
		n.lead(c.Standby)
		p := newPoolAt(t, c.named(more), &pool.Config{BeforeConnect: n.dial})
		before := pid(t, p)
		for range 3 {
			_, err := p.Exec(bounded(t), "insert into read values (1)")
			var pg *pgconn.PgError
			require.ErrorAs(t, err, &pg)
			require.Equal(t, "25006", pg.Code)
		}
		assert.Equal(t, before, pid(t, p), more)
		assert.Zero(t, p.Stat().Dials().Failovers)
		_, err := p.Exec(bounded(t), "alter system reset work_mem") // which a standby does
		require.NoError(t, err)
		newInspector(t, c.Standby.ConnString()).exec("select pg_terminate_backend(" + strconv.Itoa(before) + ", 5000)")
		require.NoError(t, p.Ping(bounded(t)), "it is a standby's as before")
	}
}

func (c *pair) aReadOnlyTransactionIsNobodysFailover(t *testing.T) {
	i := c.table(t, "strict")
	p := newPoolAt(t, c.Writer.ConnString(), &pool.Config{MaxConns: 1, Isolation: pool.Off})
	_, err := p.Exec(bounded(t), "insert into strict values (1)")
	require.NoError(t, err)
	before := pid(t, p)
	calls := 0
	err = pool.InTx(bounded(t), p, pool.TxOptions{MaxRetries: 5, TxOptions: pgx.TxOptions{AccessMode: pgx.ReadOnly}},
		func(ctx context.Context, tx pgx.Tx) error {
			calls++
			_, err := tx.Exec(ctx, "insert into strict values (2)")
			return err
		})
	require.ErrorContains(t, err, "25006")
	assert.Equal(t, 1, calls)
	_, err = p.Exec(bounded(t), "set default_transaction_read_only = on")
	require.NoError(t, err)
	_, err = p.Exec(bounded(t), "insert into strict values (3)")
	require.ErrorContains(t, err, "25006")
	assert.Equal(t, before, pid(t, p))
	assert.Zero(t, p.Stat().Dials().Failovers)
	assert.Equal(t, 1, i.count("select count(*) from strict"))
}

func (c *pair) severalHosts(t *testing.T) {
	c.table(t, "hosts")
	both := "postgres://postgres@" + c.Standby.Addr() + "," + c.Writer.Addr() + "/postgres?sslmode=disable"
	at := func(p *pool.Pool) (host string) {
		require.NoError(t, p.QueryRow(bounded(t), serve).Scan(&host))
		return host + ":" + c.port
	}
	for more, want := range map[string]string{
		"": c.Standby.Addr(), "&target_session_attrs=read-write": c.Writer.Addr(), "&target_session_attrs=primary": c.Writer.Addr(),
		"&target_session_attrs=standby": c.Standby.Addr(), "&target_session_attrs=prefer-standby": c.Standby.Addr(), "&target_session_attrs=read-only": c.Standby.Addr(),
	} {
		assert.Equal(t, want, at(newPoolAt(t, both+more, nil)), more)
	}
	// Who has learned that he writes goes on to the next host by himself.
	u, err := url.Parse(c.Writer.ConnString())
	require.NoError(t, err)
	proxy := newProxy(t, u.String())
	p := newPoolAt(t, strings.Replace(both, c.Standby.Addr(), proxy.Addr(), 1), nil)
	_, err = p.Exec(bounded(t), "insert into hosts values (1)")
	require.NoError(t, err)
	proxy.Retarget(c.Standby.Addr())
	proxy.Reset()
	_, err = p.Exec(bounded(t), "insert into hosts values (2)")
	require.NoError(t, err)
	assert.Equal(t, c.Writer.Addr(), at(p))
}

// The sockets end at a pooler, which has moved.
func (c *pair) healthySocketsToWhatWasTheWriter(t *testing.T) {
	i := c.table(t, "moved")
	dsn, move := c.through(t)
	log, w := &logs{}, &eyes{}
	p := newPoolAt(t, dsn, &pool.Config{MaxConns: 3, Upstream: pool.UpstreamPgBouncer, Logger: log.logger(), Observers: []any{w}})
	defer func() {
		fences := all[observe.Fence](w)
		assert.Len(t, fences, int(p.Stat().Dials().Failovers))
		assert.Equal(t, "standby", fences[0].Why)
	}()
	id := 0
	insert := func(ctx context.Context, q interface {
		Exec(context.Context, string, ...any) (pgconn.CommandTag, error)
	},
	) error {
		id++
		_, err := q.Exec(ctx, "insert into moved values ($1)", id)
		return err
	}
	must := func(err error) {
		t.Helper()
		require.NoError(t, err)
	}
	settled := func() {
		t.Helper()
		must(insert(bounded(t), p))
		eventually(t, "nothing is asked about the catalogs", func() bool { s := p.Stat(); return s.IdleConns() == s.TotalConns() && s.IdleConns() > 0 })
	}
	tried := 0
	for what, use := range map[string]func(ctx context.Context) error{
		"Exec": func(ctx context.Context) error { return insert(ctx, p) },
		"QueryRow": func(ctx context.Context) error {
			id++
			return p.QueryRow(ctx, "insert into moved values ($1) returning id", id).Scan(new(int))
		},
		"InTx": func(ctx context.Context) error {
			calls := 0
			id++
			err := pool.InTx(ctx, p, pool.TxOptions{MaxRetries: 1}, func(ctx context.Context, tx pgx.Tx) error {
				calls++
				_, err := tx.Exec(ctx, "insert into moved values ($1)", id)
				return err
			})
			assert.Equal(t, 2, calls)
			return err
		},
	} {
		move(c.Writer)
		settled()
		before := p.Stat()
		move(c.Standby)
		done := make(chan error)
		go func() { done <- use(bounded(t)) }()
		eventually(t, what+": what was the writer is given up", func() bool { return p.Stat().Dials().Failovers > before.Dials().Failovers })
		eventually(t, what+": a standby is no way out", func() bool { return p.Stat().Dials().Failed >= before.Dials().Failed+2 })
		move(c.Writer)
		require.NoError(t, ends(t, what, done), what)
		tried++
		assert.Equal(t, before.Dials().Failovers+1, p.Stat().Dials().Failovers, what)
		assert.Equal(t, id, i.count("select count(*) from moved"), what)
	}
	// Whose result is its caller's by then is not sent again, and says that nothing has happened.
	for what, use := range map[string]func(ctx context.Context) error{
		"Query": func(ctx context.Context) error {
			r, err := p.Query(ctx, "insert into moved values ($1) returning id", id+1)
			must(err)
			_, err = pgx.CollectRows(r, pgx.RowTo[int])
			return err
		},
		"batch, closed": func(ctx context.Context) error {
			b := &pgx.Batch{}
			b.Queue("select 1")
			b.Queue("insert into moved values ($1)", id+1)
			return p.SendBatch(ctx, b).Close()
		},
		"batch, read": func(ctx context.Context) error {
			b := &pgx.Batch{}
			b.Queue("insert into moved values ($1)", id+1)
			b.Queue("insert into moved values ($1)", id+2)
			r := p.SendBatch(ctx, b)
			_, err := r.Exec()
			require.Error(t, r.Close())
			return err
		},
		"batch, rows": func(ctx context.Context) error {
			b := &pgx.Batch{}
			b.Queue("insert into moved values ($1) returning id", id+1)
			r := p.SendBatch(ctx, b)
			err := r.QueryRow().Scan(new(int))
			require.Error(t, r.Close())
			return err
		},
	} {
		move(c.Writer)
		settled()
		before := p.Stat()
		move(c.Standby)
		err := use(bounded(t))
		require.Error(t, err, what)
		assert.True(t, pool.Retryable(err), "%s: %v", what, err)
		assert.False(t, pool.OutcomeUnknown(err), "%s: %v", what, err)
		assert.Equal(t, before.Dials().Failovers+1, p.Stat().Dials().Failovers, what)
		move(c.Writer)
		must(insert(bounded(t), p))
		tried++
		assert.Equal(t, id, i.count("select count(*) from moved"), what)
	}
	// On a lease it is found out when that comes back; and what else was lent is not lent again.
	move(c.Writer)
	settled()
	other, err := p.Acquire(bounded(t))
	must(err)
	l, err := p.Acquire(bounded(t))
	must(err)
	before := p.Stat()
	move(c.Standby)
	tx, err := l.Begin(bounded(t))
	must(err)
	err = insert(bounded(t), tx)
	require.ErrorContains(t, err, "25006")
	id--
	assert.False(t, pool.OutcomeUnknown(err))
	must(tx.Rollback(bounded(t)))
	assert.Equal(t, before.Dials().Failovers, p.Stat().Dials().Failovers)
	l.Release()
	eventually(t, "it is found out", func() bool { return p.Stat().Dials().Failovers == before.Dials().Failovers+1 })
	other.Release()
	eventually(t, "all are closed", func() bool { return p.Stat().TotalConns() == 0 })
	tried++

	// Whose function may not run again gets the error, and the next user a writer.
	move(c.Writer)
	settled()
	move(c.Standby)
	err = pool.InTx(bounded(t), p, pool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error { return insert(ctx, tx) })
	require.ErrorContains(t, err, "25006")
	assert.True(t, pool.Retryable(err), "%v", err)
	assert.False(t, pool.OutcomeUnknown(err))
	move(c.Writer)
	must(insert(bounded(t), p))
	assert.Equal(t, before.Dials().Failovers+2, p.Stat().Dials().Failovers)
	tried++
	fences := 0
	for _, l := range log.lines() {
		if strings.Contains(l, "the server is a standby now") {
			fences++
		}
	}
	assert.Equal(t, tried, fences, "each is said once")
}

package deadconn

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// closed checks that c and tx are not nil and do nothing, that c has the host, user and database of want, and that it shows none of secrets.
func closed(t *testing.T, c *pgx.Conn, tx pgx.Tx, want *pgconn.Config, secrets ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	require.NotNil(t, c)
	require.NotNil(t, tx)
	require.True(t, c.IsClosed())
	one := func(sql string) *pgx.Batch { b := &pgx.Batch{}; b.Queue(sql); return b }
	for what, err := range map[string]error{
		"Ping":      c.Ping(ctx),
		"Exec":      second(c.Exec(ctx, "select 1")),
		"Exec args": second(c.Exec(ctx, "select $1::int", 1)),
		"Query":     second(pgx.CollectRows(must(c.Query(ctx, "select 1")), pgx.RowTo[int])),
		"QueryRow":  c.QueryRow(ctx, "select 1").Scan(nil),
		"Begin":     second(c.Begin(ctx)),
		"Prepare":   second(c.Prepare(ctx, "a", "select 1")),
		"SendBatch": c.SendBatch(ctx, one("select 1")).Close(),
		"CopyFrom":  second(c.CopyFrom(ctx, pgx.Identifier{"t"}, []string{"n"}, pgx.CopyFromRows([][]any{{1}}))),
		"LoadType":  second(c.LoadType(ctx, "t")),
		"Wait":      second(c.WaitForNotification(ctx)),
		"Cancel":    c.PgConn().CancelRequest(ctx),
		"Pipeline":  c.PgConn().StartPipeline(ctx).Sync(),
		"tx.Exec":   second(tx.Exec(ctx, "select 1")),
		"tx.Commit": tx.Commit(ctx),
		"lo":        func() error { lo := tx.LargeObjects(); return second(lo.Create(ctx, 0)) }(),
	} {
		assert.Error(t, err, what)
	}
	got := c.Config()
	assert.Equal(t, fmt.Sprint(want.Host, want.Port, want.User, want.Database), fmt.Sprint(got.Host, got.Port, got.User, got.Database))
	assert.Equal(t, want.RuntimeParams["application_name"], got.RuntimeParams["application_name"])
	for _, s := range append(secrets, "hunter2") {
		assert.NotContains(t, fmt.Sprintf("%+v %s", got.Config, got.Password), s)
	}
}

// must drops the error of Query, since its Rows have the same error.
func must(r pgx.Rows, _ error) pgx.Rows { return r }

func second[T any](_ T, err error) error { return err }

// Whatever the connection string says, there is a Maker, though nobody could connect with it.
func TestItsConfigurationFollowsAnyConnectionString(t *testing.T) {
	t.Parallel()
	service := filepath.Join(t.TempDir(), "service")
	require.NoError(t, os.WriteFile(service, []byte("[s]\nhost=byservice\nuser=su\ndbname=sd\npassword=hunter2\ntarget_session_attrs=read-write\nsslmode=require\n"), 0o600))
	for _, dsn := range []string{
		"host=a user=u dbname=d password=hunter2",
		"host=a,b,c port=1,2,3 user=u dbname=d password=hunter2 target_session_attrs=read-write",
		"host=a,b port=1,2 user=u dbname=d target_session_attrs=prefer-standby sslmode=prefer",
		"postgres://u:hunter2@a:77,b:78/d?sslmode=verify-full&application_name=app",
		"postgres://u:hunter2@a/d?sslmode=require&sslnegotiation=direct&channel_binding=require",
		"host=a user=u dbname=d sslmode=require require_auth=scram-sha-256 channel_binding=require",
		"host=a user=u dbname=d sslmode=require sslcertmode=require",
		"host=a user=u dbname=d require_auth=!none min_protocol_version=3.2 max_protocol_version=latest",
		"host=/nowhere/sockets user=u dbname=d password=hunter2",
		"host=::1 user=u dbname=d", "host='' user=u", "host=a user=u krbsrvname=k krbspn=p",
		"host=a user=u dbname=d connect_timeout=1 options='-c statement_timeout=1' search_path=x default_query_exec_mode=exec statement_cache_capacity=0 description_cache_capacity=0",
		"service=s servicefile=" + service,
		"service=s servicefile=" + service + " host=a",
	} {
		px, err := pgxpool.ParseConfig(dsn)
		require.NoError(t, err, dsn)
		px.ConnConfig.Tracer = boom{}
		px.ConnConfig.ValidateConnect = func(context.Context, *pgconn.PgConn) error { panic("validate") }
		px.ConnConfig.AfterConnect = func(context.Context, *pgconn.PgConn) error { panic("after") }
		px.ConnConfig.OnPgError = func(*pgconn.PgConn, *pgconn.PgError) bool { panic("error") }
		px.ConnConfig.BuildContextWatcherHandler = nil
		px.ConnConfig.LookupFunc, px.ConnConfig.DialFunc, px.ConnConfig.BuildFrontend = nil, nil, nil
		d := New(px.ConnConfig)
		first, onFirst := d.first()
		closed(t, first, onFirst, &px.ConnConfig.Config)
		c, tx := d.both()
		require.NotSame(t, first, c)
		closed(t, c, tx, &px.ConnConfig.Config)
		assert.NotContains(t, c.Config().ConnString(), "hunter2")
	}
}

// boom is a tracer that must not be called.
type boom struct{}

func (boom) TraceQueryStart(context.Context, *pgx.Conn, pgx.TraceQueryStartData) context.Context {
	panic("traced")
}
func (boom) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) { panic("traced") }
func (boom) TraceConnectStart(context.Context, pgx.TraceConnectStartData) context.Context {
	panic("traced")
}
func (boom) TraceConnectEnd(context.Context, pgx.TraceConnectEndData) { panic("traced") }

// The PG* variables have no effect, whether they are set before the pool is made or after, and even if their values are broken.
func TestItsConfigurationReadsNoVariable(t *testing.T) {
	const dsn = "host=a port=5 user=u dbname=d password=hunter2 sslmode=disable target_session_attrs=any connect_timeout=3 " +
		"min_protocol_version=3.0 max_protocol_version=3.0 application_name=app"
	px, err := pgxpool.ParseConfig(dsn)
	require.NoError(t, err)
	before := New(px.ConnConfig)
	service := filepath.Join(t.TempDir(), "service")
	require.NoError(t, os.WriteFile(service, []byte("[s]\nhost=byservice\npassword=hunter3\ntarget_session_attrs=read-write\n"), 0o600))
	pass := filepath.Join(t.TempDir(), "pass")
	require.NoError(t, os.WriteFile(pass, []byte("*:*:*:*:hunter4\n"), 0o600))
	parsed, refused := 0, 0
	for _, set := range []map[string]string{
		{"PGTARGETSESSIONATTRS": "read-write"},
		{"PGTARGETSESSIONATTRS": "standby"},
		{"PGTARGETSESSIONATTRS": "prefer-standby"},
		{"PGTARGETSESSIONATTRS": "bogus"},
		{"PGSSLMODE": "verify-full"},
		{"PGSSLMODE": "bogus"},
		{"PGSSLCERT": "/nowhere"},
		{"PGSSLKEY": "/nowhere"},
		{"PGSSLROOTCERT": "/nowhere"},
		{"PGSSLPASSWORD": "hunter5"},
		{"PGSERVICE": "nosuch"},
		{"PGSERVICE": "s", "PGSERVICEFILE": service},
		{"PGSERVICEFILE": "/nowhere"},
		{"PGPASSFILE": pass},
		{"PGPASSFILE": "/nowhere"},
		{"PGPASSWORD": "hunter6"},
		{"PGHOST": "x,y"},
		{"PGHOST": "/nowhere"},
		{"PGPORT": "bogus"},
		{"PGPORT": "1,2,3"},
		{"PGUSER": "x"},
		{"PGDATABASE": "x"},
		{"PGCONNECT_TIMEOUT": "bogus"},
		{"PGCONNECT_TIMEOUT": "1"},
		{"PGOPTIONS": "-c role=x"},
		{"PGAPPNAME": "x"},
		{"PGTZ": "bogus"},
		{"PGMINPROTOCOLVERSION": "bogus"},
		{"PGMAXPROTOCOLVERSION": "latest"},
		{"PGREQUIREAUTH": "bogus"},
		{"PGSSLCERTMODE": "require"},
		{"PGSSLCERTMODE": "bogus"},
		{"PGSSLCERTMODE": ""},
		{"PGSSLSNI": "bogus"},
		{"PGSSLNEGOTIATION": "direct"},
		{"PGCHANNELBINDING": "require"},
		{"HOME": "/nowhere", "USER": ""},
	} {
		t.Run(fmt.Sprint(set), func(t *testing.T) {
			for k, v := range set {
				t.Setenv(k, v)
			}
			secrets := []string{"hunter3", "hunter4", "hunter5", "hunter6"}
			c, tx := before.both()
			closed(t, c, tx, &px.ConnConfig.Config, secrets...)
			for _, dsn := range []string{dsn, "host=a,b port=5,6 user=u", "postgres://u@a/d", "service=s servicefile=" + service + " " + dsn} {
				px, err := pgxpool.ParseConfig(dsn)
				if err != nil {
					refused++
					continue
				}
				parsed++
				d := New(px.ConnConfig)
				c, tx := d.both()
				require.NotSame(t, d.First(), c)
				closed(t, c, tx, &px.ConnConfig.Config)
				if set["PGSERVICE"] != "nosuch" {
					assert.NotContains(t, c.Config().ConnString(), "hunter")
				}
			}
		})
	}
	t.Logf("%d pools made, %d refused", parsed, refused)
}

// bare names every field of pgx's configuration. A field that a newer pgx adds must be looked at, since it may run code or make connect fail.
func TestItsConfigurationKnowsEveryFieldThatPgxHas(t *testing.T) {
	t.Parallel()
	known := strings.Fields("Host Port Database User Password TLSConfig ConnectTimeout DialFunc LookupFunc BuildFrontend " +
		"MaxProtocolMessageBodyLen BuildContextWatcherHandler RuntimeParams KerberosSrvName KerberosSpn Fallbacks SSLNegotiation SSLCertMode " +
		"AfterNetConnect ValidateConnect AfterConnect OnNotice OnNotification OnPgError OAuthTokenProvider " +
		"MinProtocolVersion MaxProtocolVersion ChannelBinding RequireAuth createdByParseConfig " +
		"Config Tracer connString StatementCacheCapacity DescriptionCacheCapacity DefaultQueryExecMode createdByParseConfig")
	for _, of := range []reflect.Type{reflect.TypeFor[pgconn.Config](), reflect.TypeFor[pgx.ConnConfig]()} {
		for i := range of.NumField() {
			assert.Contains(t, known, of.Field(i).Name)
		}
	}
}

func BenchmarkMaker(b *testing.B) {
	px, err := pgxpool.ParseConfig("host=a user=u")
	require.NoError(b, err)
	d := New(px.ConnConfig)
	b.Run("New", func(b *testing.B) {
		for b.Loop() {
			New(px.ConnConfig)
		}
	})
	b.Run("conn", func(b *testing.B) {
		for b.Loop() {
			d.both()
		}
	})
}

// Package deadconn makes closed connections. A caller gets one when he asks for the connection of a lease that has ended, or of rows in memory. Each use
// of a closed connection fails with "conn closed". With nil his goroutine would panic. The real connection serves somebody else.
package deadconn

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"reflect"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgproto3"
)

// Maker makes closed connections. Their Config has the pool's own host, port, user, database and runtime parameters, and nothing that could fail or
// run the user's code: no password, TLS, other hosts, tracer or hook.
type Maker struct {
	bare  func() *pgx.ConnConfig // returns what bare makes of the pool's
	first func() (*pgx.Conn, pgx.Tx)
}

// New returns a Maker of connections with the host, user and database of pool. It makes the first one when it is needed: that takes half a millisecond,
// mostly for pgx's table of types, which a start of the process should not wait for.
func New(pool *pgx.ConnConfig) *Maker {
	pool = pool.Copy()
	m := &Maker{bare: sync.OnceValue(func() *pgx.ConnConfig { return bare(pool) })}
	m.first = sync.OnceValues(func() (*pgx.Conn, pgx.Tx) {
		c, tx, err := m.connect()
		if err != nil {
			panic(fmt.Sprintf("lmipool: no closed connection could be made, which needs no server: %v", err))
		}
		return c, tx
	})
	return m
}

// First returns a closed connection that many callers share. Tracers get it, and so does everybody else if no new one can be made.
func (m *Maker) First() *pgx.Conn {
	c, _ := m.first()
	return c
}

// neverDialed is a connection string that is valid with any PG* variables in the environment, except PGSERVICE.
const neverDialed = "host=ended port=5432 user=ended dbname=ended password='' passfile='' sslmode=disable sslnegotiation=postgres " +
	"sslcertmode=disable sslsni=1 sslcert='' sslkey='' sslrootcert='' target_session_attrs=any connect_timeout=0 min_protocol_version=3.0 max_protocol_version=3.0 " +
	"channel_binding=disable require_auth=''"

// bare returns a configuration with the host, user and database of pool, and with nothing that could make a connection to greet fail.
func bare(pool *pgx.ConnConfig) *pgx.ConnConfig {
	c, err := pgx.ParseConfig(neverDialed + " default_query_exec_mode=cache_statement")
	if err != nil { // PGSERVICE names a service that does not exist; the pool's own string is valid, but ConnString then returns it
		c = pool.Copy()
	}
	c.Tracer, c.StatementCacheCapacity, c.DescriptionCacheCapacity = nil, 512, 512
	c.DefaultQueryExecMode = pool.DefaultQueryExecMode
	from := pool.Config.Copy()
	c.Host, c.Port, c.User, c.Database, c.RuntimeParams = from.Host, from.Port, from.User, from.Database, from.RuntimeParams
	c.Password, c.TLSConfig, c.Fallbacks, c.SSLNegotiation = "", nil, nil, ""
	c.ConnectTimeout, c.MaxProtocolMessageBodyLen = 0, 0
	c.KerberosSrvName, c.KerberosSpn, c.ChannelBinding, c.RequireAuth, c.OAuthTokenProvider = "", "", "disable", "", nil
	c.MinProtocolVersion, c.MaxProtocolVersion = "3.0", "3.0"
	if f := reflect.ValueOf(&c.Config).Elem().FieldByName("SSLCertMode"); f.IsValid() { // pgx 5.12 has this field, 5.11 does not
		f.SetString("")
	}
	c.AfterNetConnect, c.ValidateConnect, c.AfterConnect = nil, nil, nil
	c.OnNotice, c.OnNotification, c.OnPgError = nil, nil, nil
	c.BuildFrontend = pgproto3.NewFrontend
	c.BuildContextWatcherHandler = func(pc *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.DeadlineContextWatcherHandler{Conn: pc.Conn()}
	}
	return c
}

// Conn returns a closed connection that only the caller has.
func (m *Maker) Conn() *pgx.Conn {
	c, _ := m.both()
	return c
}

// Tx returns a transaction on a closed connection that only the caller has.
func (m *Maker) Tx() pgx.Tx {
	_, tx := m.both()
	return tx
}

// ClosedTx returns a transaction that is over: each use of it fails with pgx.ErrTxClosed.
func (m *Maker) ClosedTx() pgx.Tx {
	tx := m.Tx()
	_ = tx.Rollback(context.Background())
	return tx
}

func (m *Maker) both() (*pgx.Conn, pgx.Tx) {
	c, tx, err := m.connect()
	if err != nil {
		return m.first()
	}
	return c, tx
}

// connect makes a connection to greet, begins a transaction, and closes the connection.
func (m *Maker) connect() (*pgx.Conn, pgx.Tx, error) {
	ctx := context.Background()
	config := m.bare().Copy()
	config.LookupFunc = func(context.Context, string) ([]string, error) { return []string{"ended"}, nil }
	var dialed atomic.Bool
	config.DialFunc = func(context.Context, string, string) (net.Conn, error) {
		if dialed.Swap(true) { // pgx dials a second time only for a cancel request
			return nil, net.ErrClosed
		}
		here, there := net.Pipe()
		go greet(there)
		return here, nil
	}
	c, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, nil, err
	}
	tx, err := c.Begin(ctx)
	_ = c.Close(ctx)
	return c, tx, err
}

// greet is a server for one connection: it accepts the login, a BEGIN and a Terminate. Its answers are ready: pgproto3's Backend makes binaries larger.
func greet(nc net.Conn) {
	defer nc.Close()
	answers := []string{
		"R\x00\x00\x00\x08\x00\x00\x00\x00" + "Z\x00\x00\x00\x05I", // to the startup message: AuthenticationOk, ReadyForQuery
		"C\x00\x00\x00\x0aBEGIN\x00" + "Z\x00\x00\x00\x05T",        // to BEGIN
	}
	var head [5]byte // of a message: its kind, which a startup message has not, and its length
	for i, answer := range answers {
		from := 0
		if i == 0 {
			from = 1
		}
		if _, err := io.ReadFull(nc, head[from:]); err != nil {
			return
		}
		if _, err := io.CopyN(io.Discard, nc, int64(binary.BigEndian.Uint32(head[1:]))-4); err != nil {
			return
		}
		if _, err := io.WriteString(nc, answer); err != nil {
			return
		}
	}
	_, _ = io.Copy(io.Discard, nc) // Terminate
}

package pool_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/lmipool/lmipool/pool"
)

func TestABeginThatRanElsewhereIsStillTheFunctionsOwn(t *testing.T) {
	t.Parallel()
	b, mute := newMuteLab(t)
	db := b.p.With(map[string]string{"app.tenant": "a"}) // so that BEGIN travels alone
	mute.Store(true)
	done := make(chan error, 1)
	go func() {
		done <- pool.InTx(bounded(t), db, pool.TxOptions{}, func(ctx context.Context, _ pgx.Tx) error {
			_, err := b.p.Exec(ctx, "select 1")
			return err
		})
	}()
	require.ErrorIs(t, ends(t, "the standstill", done), pool.ErrNestedAcquire)
	assert.False(t, mute.Load())
}

// A pooler whose server is gone takes a new client, and ends it at its first word.
func TestWhatIsLostAgainAndAgainIsNoStormOfDials(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	var accepted atomic.Int64
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			accepted.Add(1)
			go func() {
				defer nc.Close()
				s := pgproto3.NewBackend(nc, nc)
				if _, err := s.ReceiveStartupMessage(); err != nil {
					return
				}
				s.Send(&pgproto3.AuthenticationOk{})
				s.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
				if s.Flush() != nil {
					return
				}
				if _, err := s.Receive(); err != nil {
					return
				}
				s.Send(&pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: "08P01", Message: "server login has been failing, cached error: connect failed (server_login_retry)"})
				_ = s.Flush()
			}()
		}
	}()
	p := newPoolAt(t, "postgres://u@"+l.Addr().String()+"/d?sslmode=disable",
		&pool.Config{MaxConns: 2, Lanes: pool.LanesOff, Upstream: pool.UpstreamPgBouncer, ConnectTimeout: 300 * time.Millisecond, Logger: (&logs{}).logger()})
	for what, do := range map[string]func(context.Context) error{
		"Begin": func(ctx context.Context) error { _, err := p.Begin(ctx); return err },
		"Ping":  p.Ping,
		"Exec":  func(ctx context.Context) error { _, err := p.Exec(ctx, "select $1::int", 1); return err },
		"QueryRow": func(ctx context.Context) error {
			var n int
			return p.QueryRow(ctx, "select $1::int", 1).Scan(&n)
		},
		"Query": func(ctx context.Context) error {
			rows, err := p.Query(ctx, "select $1::int", 1)
			if err == nil {
				rows.Next()
				err = rows.Err()
			}
			return err
		},
		"SendBatch": func(ctx context.Context) error {
			b := &pgx.Batch{}
			b.Queue("select $1::int", 1)
			return p.SendBatch(ctx, b).Close()
		},
	} {
		before := accepted.Load()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		err = do(ctx)
		require.Error(t, err)
		assert.False(t, pool.OutcomeUnknown(err), "%s: %v", what, err)
		assert.Less(t, accepted.Load()-before, int64(20), what)
		// Without a deadline it ends all the same.
		done := make(chan error, 1)
		go func() { done <- do(context.Background()) }()
		require.Error(t, ends(t, what, done))
	}
}

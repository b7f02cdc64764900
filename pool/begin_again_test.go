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

// hangsUp is a pooler whose server is gone: it takes a new client, and ends it at its first word.
func hangsUp(t *testing.T) (dsn string, accepted *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	accepted = new(atomic.Int64)
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
	return "postgres://u@" + l.Addr().String() + "/d?sslmode=disable", accepted
}

func TestWhatIsLostAgainAndAgainIsNoStormOfDials(t *testing.T) {
	t.Parallel()
	const sql = "select $1::int"
	for what, do := range map[string]func(context.Context, *pool.Pool) error{
		"Begin": func(ctx context.Context, p *pool.Pool) error { _, err := p.Begin(ctx); return err },
		"Ping":  func(ctx context.Context, p *pool.Pool) error { return p.Ping(ctx) },
		"Exec":  func(ctx context.Context, p *pool.Pool) error { _, err := p.Exec(ctx, sql, 1); return err },
		"QueryRow": func(ctx context.Context, p *pool.Pool) error {
			var n int
			return p.QueryRow(ctx, sql, 1).Scan(&n)
		},
		"Query": func(ctx context.Context, p *pool.Pool) error {
			rows, err := p.Query(ctx, sql, 1)
			if err == nil {
				rows.Next()
				err = rows.Err()
			}
			return err
		},
		"SendBatch": func(ctx context.Context, p *pool.Pool) error {
			b := &pgx.Batch{}
			b.Queue(sql, 1)
			return p.SendBatch(ctx, b).Close()
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			dsn, accepted := hangsUp(t)
			p := newPoolAt(t, dsn, &pool.Config{
				MaxConns: 2, Lanes: pool.Off, Upstream: pool.UpstreamPgBouncer, ConnectTimeout: 150 * time.Millisecond, Logger: (&logs{}).logger(),
			})
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			err := do(ctx, p)
			require.Error(t, err)
			assert.False(t, pool.OutcomeUnknown(err), "%v", err)
			assert.Less(t, accepted.Load(), int64(20))
			// Without a deadline it ends all the same.
			done := make(chan error, 1)
			go func() { done <- do(context.Background(), p) }()
			require.Error(t, ends(t, "without a deadline", done))
		})
	}
}

package pool

import (
	"context"
	"net"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
)

// dead returns a closed connection and a transaction on it, for who asks for the
// connection of a lease that has ended: every use of them fails with "conn closed".
// nil would be a panic in his goroutine, and so the end of the process; the lease's
// own connection is somebody else's by now.
func dead() (*pgx.Conn, pgx.Tx) {
	ctx := context.Background()
	c, _ := pgx.ParseConfig("host=ended sslmode=disable")
	c.LookupFunc = func(context.Context, string) ([]string, error) { return []string{"ended"}, nil }
	c.DialFunc = func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		go func() {
			defer there.Close()
			b := pgproto3.NewBackend(there, there)
			if _, err := b.ReceiveStartupMessage(); err != nil {
				return
			}
			b.Send(&pgproto3.AuthenticationOk{})
			b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
			if b.Flush() != nil {
				return
			}
			if _, err := b.Receive(); err != nil { // begin
				return
			}
			b.Send(&pgproto3.CommandComplete{CommandTag: []byte("BEGIN")})
			b.Send(&pgproto3.ReadyForQuery{TxStatus: 'T'})
			if b.Flush() == nil {
				_, _ = b.Receive() // terminate
			}
		}()
		return here, nil
	}
	conn, err := pgx.ConnectConfig(ctx, c)
	if err != nil {
		return nil, nil // nothing of it can fail
	}
	tx, _ := conn.Begin(ctx)
	_ = conn.Close(ctx)
	return conn, tx
}

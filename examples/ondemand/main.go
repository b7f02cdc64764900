// Command ondemand is a function whose same binary runs on managed instances and on default (on-demand) Lambda. lmipool sees from the environment
// variables where it runs. On demand an environment runs one invocation at a time, so MaxConns is 2 there, and Handler does not reply in the handler's
// place and catches no panics, since Lambda itself ends the environment then.
package main

import (
	"context"
	"log"
	"os"

	"github.com/jackc/pgx/v5"

	"github.com/lmipool/lmipool"
)

// Reply says what served the invocation.
type Reply struct {
	PID      int   // the environment
	MaxConns int32 // what lmipool has chosen
	Sum      int64
}

// Handler returns the handler.
func Handler(db *lmipool.Pool) func(context.Context, []int64) (Reply, error) {
	return func(ctx context.Context, numbers []int64) (Reply, error) {
		r := Reply{PID: os.Getpid(), MaxConns: db.Stat().MaxConns()}
		// InTx sends BEGIN with the first statement. On demand, where nobody else waits, the round trip that it saves is the gain.
		err := lmipool.InTx(ctx, db, lmipool.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
			return tx.QueryRow(ctx, "select coalesce(sum(n), 0)::bigint from unnest($1::bigint[]) n", numbers).Scan(&r.Sum)
		})
		return r, err
	}
}

func main() {
	// Between two invocations Lambda freezes an environment, and the server may have closed the connection by then. lmipool looks at a connection
	// before it is used, and dials another one if it is gone.
	db, err := lmipool.Open(context.Background(), "", nil)
	if err != nil {
		log.Fatal(err)
	}
	// Start asks for SIGTERM, so that the connections are closed when the environment ends, and the server need not find that out.
	lmipool.Start(db, Handler(db))
}

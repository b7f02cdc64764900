// Command late is a function with a mistake: it calls another service without its ctx, so it does not stop at its deadline.
//
// On managed instances Lambda does not stop such a handler. It refuses the late reply, and the process ends, with every other invocation in it. lmipool
// replies in the handler's place before the deadline, with an OverrunError, and the process goes on.
package main

import (
	"context"
	"log"
	"time"

	"github.com/lmipool/lmipool"
)

// Event says how long the other service takes.
type Event struct{ Milliseconds int }

// Handler returns the handler.
func Handler(db lmipool.DB) func(context.Context, Event) (string, error) {
	return func(ctx context.Context, e Event) (name string, err error) {
		if err := db.QueryRow(ctx, "select current_user").Scan(&name); err != nil {
			return "", err
		}
		slowService(e) // right would be slowService(ctx, e)
		return name, nil
	}
}

// slowService stands for an HTTP request that was made with http.Get, which has no ctx.
func slowService(e Event) { time.Sleep(time.Duration(e.Milliseconds) * time.Millisecond) }

func main() {
	db, err := lmipool.Open(context.Background(), "", nil)
	if err != nil {
		log.Fatal(err)
	}
	lmipool.Start(db, Handler(db))
}

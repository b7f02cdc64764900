// Command riverworker works on River's jobs. It is a program for a server or a container, since Lambda ends a function's environments
// when there are no invocations.
//
// River's driver for database/sql runs on lmipool's connections, so it needs no second pool. It polls, every second by default, and holds no connection
// to LISTEN on. A job that should begin sooner needs a shorter FetchPollInterval.
package main

import (
	"context"
	"database/sql"
	"log"
	"os/signal"
	"syscall"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverdatabasesql"

	"github.com/lmipool/lmipool"
	"github.com/lmipool/lmipool/stdlib"
)

// Ship is the job's arguments: those of package river, which inserts them.
type Ship struct {
	OrderID int64 `json:"order_id"`
}

// Kind is the job's name in River's table.
func (Ship) Kind() string { return "ship" }

type shipper struct {
	river.WorkerDefaults[Ship]
	db lmipool.DB
}

// Work does one job. River may run a job twice if the process ends in the middle, so the statement changes nothing the second time.
func (s *shipper) Work(ctx context.Context, job *river.Job[Ship]) error {
	_, err := s.db.Exec(ctx, "update orders set shipped = true where id = $1", job.Args.OrderID)
	return err
}

// Workers returns the client that works on the jobs, 10 at once on however few connections there are.
func Workers(db *lmipool.Pool) (*river.Client[*sql.Tx], error) {
	workers := river.NewWorkers()
	river.AddWorker(workers, &shipper{db: db})
	return river.NewClient(riverdatabasesql.New(stdlib.OpenDB(db)), &river.Config{
		Queues:  map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 10}},
		Workers: workers,
	})
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	db, err := lmipool.Open(ctx, "", nil)
	if err != nil {
		log.Fatal(err) //nolint:gocritic // nothing is to be stopped yet
	}
	defer db.Close()
	workers, err := Workers(db)
	if err != nil {
		log.Fatal(err)
	}
	if err := workers.Start(context.Background()); err != nil {
		log.Fatal(err)
	}
	<-ctx.Done()
	if err := workers.Stop(context.Background()); err != nil { // waits for the jobs that run
		log.Print(err)
	}
}

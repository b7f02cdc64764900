// Command riverworker works on River's jobs. It is a program for a server or a container: on Lambda nothing runs while an environment is frozen or gone, so
// a job would stop in the middle, and notifications would be lost.
//
// River's driver for pgx accepts only a *pgxpool.Pool. The pool's companion is one whose connections count in MaxConns. One more connection listens, so a
// job begins as soon as it is inserted.
package main

import (
	"context"
	"log"
	"os/signal"
	"syscall"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"github.com/lmipool/lmipool"
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

// Workers returns the client that works on the jobs, 10 at once. River's own statements run on companion, and those of the jobs on db, where they share
// connections.
func Workers(db lmipool.DB, companion *pgxpool.Pool) (*river.Client[pgx.Tx], error) {
	workers := river.NewWorkers()
	river.AddWorker(workers, &shipper{db: db})
	return river.NewClient(riverpgxv5.New(companion), &river.Config{
		Queues:  map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 10}},
		Workers: workers,
	})
}

func run(ctx context.Context) error {
	db, err := lmipool.Open(ctx, "", &lmipool.Config{MaxConns: 6})
	if err != nil {
		return err
	}
	defer db.Close()
	companion, err := db.Companion(2) // with the listener that leaves 3 of 6 for db
	if err != nil {
		return err
	}
	workers, err := Workers(db, companion)
	if err != nil {
		return err
	}
	if err := workers.Start(context.Background()); err != nil {
		return err
	}
	<-ctx.Done()
	return workers.Stop(context.Background()) // waits for the jobs that run, and stops to listen, for which Close would wait
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx); err != nil {
		log.Print(err)
	}
}
